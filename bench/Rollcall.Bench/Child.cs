using System.Diagnostics;
using System.Reflection;
using System.Text.Json;

namespace Rollcall.Bench;

/// <summary>This program once more, as a process of its own: peak memory is a number of a process, so each measurement gets one.</summary>
internal sealed class Child : IAsyncDisposable
{
    public const string Switch = "--child";
    private readonly Process _process;

    private Child(Process process) => _process = process;

    /// <summary>Starts a child and reads its one line of answer. It goes on until it is disposed.</summary>
    public static async Task<(Child Child, T Answer)> StartAsync<T>(Order order)
    {
        var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet")
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        start.ArgumentList.Add(Assembly.GetExecutingAssembly().Location);
        start.ArgumentList.Add(Switch);
        start.ArgumentList.Add(JsonSerializer.Serialize(order, Wire.Json));
        var process = Process.Start(start)!;
        var child = new Child(process);
        if (await process.StandardOutput.ReadLineAsync() is { } line)
        {
            return (child, JsonSerializer.Deserialize<T>(line, Wire.Json)!);
        }

        await process.WaitForExitAsync();
        var exitCode = process.ExitCode;
        await child.DisposeAsync();
        throw new BenchFailedException($"'{order.Task}' ended with {exitCode} and no answer; see above.");
    }

    /// <summary>Runs a child to its end.</summary>
    public static async Task<Measured> MeasureAsync(Order order)
    {
        var (child, answer) = await StartAsync<Measured>(order);
        await using (child)
        {
            await child._process.WaitForExitAsync();
            return child._process.ExitCode == 0
                ? answer
                : throw new BenchFailedException($"'{order.Task}' ended with {child._process.ExitCode}.");
        }
    }

    /// <summary>The most memory that the child ever held until now, in MB.</summary>
    public double Peak => Gauge.PeakMemory(_process);

    public async ValueTask DisposeAsync()
    {
        // A child that serves goes when its input ends, as it does when this process is killed.
        if (!_process.HasExited)
        {
            _process.StandardInput.Close();
            await _process.WaitForExitAsync();
        }

        _process.Dispose();
    }
}
