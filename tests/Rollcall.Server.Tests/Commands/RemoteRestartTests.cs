using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Rollcall.Sandbox;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Server.Tests.Commands;

/// <summary>A command that follows an operation of another machine's server, which ends and comes back behind a proxy.</summary>
public sealed class RemoteRestartTests(PostgresCluster postgres)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false, "INT")]
    [InlineData(false, "KILL")]
    [InlineData(true, "INT")]
    public async Task An_operation_is_followed_to_its_end_over_a_restart_behind_a_proxy_that_says_502(bool onPostgres, string signal)
    {
        await using var sandbox = await SandboxServer.StartAsync(new SandboxOptions { Students = 400, Schools = 4 });
        await using var there = await Cli.ConnectedAsync(sandbox, onPostgres ? postgres : null);
        await using var here = await Cli.OpenAsync();
        var token = (await there.OkAsync("token", "create", "remote", "--scope", "all", "--json")).Word("token")!;
        var file = here.File("token", token);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }

        // Slow enough to be disturbed while it reads.
        sandbox.Faults.Set("slow=500");
        await using var proxy = new Proxy();
        var (first, said) = await RealProcess.ServeAsync(there);
        using var firstServer = first;
        proxy.Target = new Uri(said.GetProperty("url").GetString()!).Port;
        var running = here.RunAsync(["sync", "--json", "--server", proxy.Url.ToString(), "--token-file", file]);

        using var http = new HttpClient { BaseAddress = new Uri(said.GetProperty("url").GetString()!) };
        http.DefaultRequestHeaders.Authorization = new("Bearer", token);
        JsonElement operation;
        do
        {
            await Task.Delay(20, Stop);
            Assert.False(running.IsCompleted, "The sync was over before it could be disturbed.");
            var page = await http.GetFromJsonAsync<JsonElement>("/api/v1/operations", Stop);
            operation = page.GetProperty("items").EnumerateArray().FirstOrDefault();
        } while (operation.ValueKind == JsonValueKind.Undefined || operation.GetProperty("status").GetString() != "running");

        await RealProcess.SignalAsync(first, signal);
        await first.WaitForExitAsync(Stop);
        sandbox.Faults.Clear();
        proxy.Target = null;
        while (proxy.Refused < 2)
        {
            await Task.Delay(50, Stop);
            Assert.False(running.IsCompleted, "It did not wait for the server to come back.");
        }

        var (second, again) = await RealProcess.ServeAsync(there);
        using var secondServer = second;
        try
        {
            proxy.Target = new Uri(again.GetProperty("url").GetString()!).Port;
            var ran = await running;
            Assert.True(ran.Code == 0, $"{ran.Code}: {ran.Out} {ran.Error}");
            Assert.StartsWith("completed", ran.Word("status"), StringComparison.Ordinal);
            Assert.Equal(operation.GetProperty("operation").GetInt64(), ran.Number("operation"));
            Assert.True(ran.Number("created") > 400);
            Assert.Contains($"Operation {ran.Number("operation")} is followed", ran.Error, StringComparison.Ordinal);
        }
        finally
        {
            await RealProcess.SignalAsync(second, "INT");
            await second.WaitForExitAsync(Stop);
        }

        // Nothing was started twice.
        Assert.Single((await there.OkAsync("operation", "list", "--json")).Json.EnumerateArray());
    }

    /// <summary>What stands in front of a server: carries connections there, and says 502 while it is away.</summary>
    private sealed class Proxy : IAsyncDisposable
    {
        private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
        private readonly CancellationTokenSource _stop = new();
        private readonly Task _accepting;
        private int _refused;

        public Proxy()
        {
            _listener.Start();
            Url = new Uri($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}");
            _accepting = AcceptAsync();
        }

        public Uri Url { get; }

        public int? Target { get; set; }

        public int Refused => Volatile.Read(ref _refused);

        private async Task AcceptAsync()
        {
            var carried = new List<Task>();
            try
            {
                while (true)
                {
                    carried.Add(CarryAsync(await _listener.AcceptTcpClientAsync(_stop.Token)));
                }
            }
            catch (OperationCanceledException)
            {
                await Task.WhenAll(carried);
            }
        }

        private async Task CarryAsync(TcpClient client)
        {
            using var here = client;
            using var there = new TcpClient();
            try
            {
                if (Target is not { } port)
                {
                    _ = await here.GetStream().ReadAtLeastAsync(new byte[64 * 1024], 1, throwOnEndOfStream: false, _stop.Token);
                    await here.GetStream()
                        .WriteAsync(
                            Encoding.ASCII.GetBytes(
                                "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 3\r\nConnection: close\r\n\r\n502"
                            ),
                            _stop.Token
                        );
                    Interlocked.Increment(ref _refused);
                    return;
                }

                await there.ConnectAsync(IPAddress.Loopback, port, _stop.Token);
                await Task.WhenAny(
                    here.GetStream().CopyToAsync(there.GetStream(), _stop.Token),
                    there.GetStream().CopyToAsync(here.GetStream(), _stop.Token)
                );
            }
            catch (Exception e) when (e is IOException or SocketException or OperationCanceledException)
            {
                // Somebody hung up.
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
}
