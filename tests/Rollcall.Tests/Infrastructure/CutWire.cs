using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Npgsql;

namespace Rollcall.Tests.Infrastructure;

/// <summary>Stands between a client and PostgreSQL and cuts the line at the n-th statement, before the server has it or after it has done
/// it.</summary>
public sealed class CutWire : IAsyncDisposable
{
    private const int SslRequest = 80877103;
    private const int GssRequest = 80877104;
    private readonly TempFolder _folder = new();
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly NpgsqlConnectionStringBuilder _target;
    private readonly StatementFault _fault;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _accepting;

    public CutWire(string connection, StatementFault fault)
    {
        (_target, _fault) = (new NpgsqlConnectionStringBuilder(connection), fault);
        _listener.Bind(new UnixDomainSocketEndPoint(Path.Combine(_folder.Path, ".s.PGSQL.5432")));
        _listener.Listen();
        _accepting = AcceptAsync();
    }

    /// <summary>Leads through the wire.</summary>
    public string Connection =>
        new NpgsqlConnectionStringBuilder(_target.ToString())
        {
            Host = _folder.Path,
            Port = 5432,
            SslMode = SslMode.Disable,
        }.ToString();

    private async Task AcceptAsync()
    {
        var lines = new List<Task>();
        try
        {
            while (true)
            {
                var client = await _listener.AcceptAsync(_stop.Token);
                if (_fault.Dead)
                {
                    client.Dispose();
                    continue;
                }

                lines.Add(CarryAsync(client));
            }
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(lines);
        }
    }

    private async Task CarryAsync(Socket client)
    {
        using var server = await ConnectAsync();
        using (client)
        {
            using var ended = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
            var line = new Line(client, server, _fault, ended);
            await Task.WhenAll(line.UpAsync(), line.DownAsync());
        }
    }

    private async Task<Socket> ConnectAsync()
    {
        var host = _target.Host!;
        if (host.StartsWith('/'))
        {
            var local = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await local.ConnectAsync(new UnixDomainSocketEndPoint(Path.Combine(host, $".s.PGSQL.{_target.Port}")));
            return local;
        }

        var remote = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await remote.ConnectAsync(new DnsEndPoint(host, _target.Port));
        return remote;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _accepting;
        _listener.Dispose();
        _stop.Dispose();
        _folder.Dispose();
    }

    private sealed class Line(Socket client, Socket server, StatementFault fault, CancellationTokenSource ended)
    {
        // Set before the statement goes to the server whose answer is to be lost.
        private volatile bool _swallow;

        public async Task UpAsync()
        {
            var held = new MemoryStream();
            var started = false;
            await RunAsync(async () =>
            {
                while (true)
                {
                    var header = await ReadAsync(client, started ? 5 : 4);
                    var length = BinaryPrimitives.ReadInt32BigEndian(header.AsSpan(started ? 1 : 0));
                    var body = await ReadAsync(client, length - 4);
                    held.Write(header);
                    held.Write(body);
                    if (!started)
                    {
                        started = BinaryPrimitives.ReadInt32BigEndian(body) is not (SslRequest or GssRequest);
                    }
                    else if (header[0] is (byte)'P' or (byte)'B' or (byte)'D' or (byte)'E' or (byte)'C')
                    {
                        // They belong to the statement that the next Sync ends.
                        continue;
                    }
                    else if (header[0] is (byte)'S' or (byte)'Q' or (byte)'c' && fault.Next() is { } what)
                    {
                        if (what == FaultKind.Before)
                        {
                            return;
                        }

                        _swallow = true;
                    }

                    await server.SendAsync(held.GetBuffer().AsMemory(0, (int)held.Length), ended.Token);
                    held.SetLength(0);
                    if (_swallow)
                    {
                        // The way down ends the line when the server has answered.
                        await Task.Delay(Timeout.Infinite, ended.Token);
                    }
                }
            });
        }

        public Task DownAsync() =>
            RunAsync(async () =>
            {
                while (true)
                {
                    var header = await ReadAsync(server, 5);
                    var body = await ReadAsync(server, BinaryPrimitives.ReadInt32BigEndian(header.AsSpan(1)) - 4);
                    if (!_swallow)
                    {
                        await client.SendAsync(header, ended.Token);
                        if (body.Length > 0)
                        {
                            await client.SendAsync(body, ended.Token);
                        }
                    }
                    else if (header[0] is (byte)'Z' or (byte)'G')
                    {
                        return;
                    }
                }
            });

        private async Task RunAsync(Func<Task> carry)
        {
            try
            {
                await carry();
            }
            catch (Exception e) when (e is SocketException or OperationCanceledException or EndOfStreamException or ObjectDisposedException)
            {
                // The line is down.
            }

            await ended.CancelAsync();
            client.Dispose();
            server.Dispose();
        }

        private async Task<byte[]> ReadAsync(Socket from, int count)
        {
            var bytes = new byte[count];
            for (var at = 0; at < count; )
            {
                var got = await from.ReceiveAsync(bytes.AsMemory(at), ended.Token);
                at += got > 0 ? got : throw new EndOfStreamException();
            }

            return bytes;
        }
    }
}
