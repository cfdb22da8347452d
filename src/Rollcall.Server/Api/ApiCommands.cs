using System.Diagnostics.CodeAnalysis;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;
using Rollcall.Operations;
using Rollcall.Server.Commands;
using Rollcall.SignIn;

namespace Rollcall.Server.Api;

/// <summary>
/// Carries commands of the command line out for whoever sends them with a token: the same code and the same words as on the server's own
/// machine, but no file of it is ever opened, and the database is confined to the token's district.
/// </summary>
internal static class ApiCommands
{
    /// <summary>Nothing in between gives up a connection that says so little.</summary>
    private static readonly TimeSpan s_quiet = TimeSpan.FromSeconds(15);

    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web);

    public static async Task RunAsync(CommandBody body, IHostApplicationLifetime lifetime, ILogger<ApiGate> logger, HttpContext http)
    {
        var caller = Caller.Of(http);

        // A server that stops breaks the connection: whoever follows an operation asks the server that comes after.
        await using var stopping = lifetime.ApplicationStopping.Register(http.Abort);
        var frames = Channel.CreateBounded<CommandFrame>(new BoundedChannelOptions(64) { SingleReader = true });
        await using var output = new FrameWriter(frames.Writer, text => new CommandFrame { Out = text });
        await using var error = new FrameWriter(frames.Writer, text => new CommandFrame { Error = text });
        var files = new SentFiles(
            body.Files ?? new Dictionary<string, byte[]>(),
            body.FullNames ?? new Dictionary<string, string>(),
            frames.Writer
        );
        var terminal = new Terminal(
            output,
            error,
            () => files.OpenRead("-"),
            _ => null,
            OutIsTerminal: body.Width is > 0,
            ErrorIsTerminal: false
        )
        {
            Files = files,
            Caller = new RemoteCaller(http.RequestServices, caller.OwnDistrict, caller.Actor),
            Watcher = new Watcher(frames.Writer),
            Follow = body.Follow,
            Window = body.Width is { } width ? (Math.Clamp(width, 20, 1000), body.Ansi == true) : null,
        };
        var arguments = body.Arguments.ToArray();
        var parsed = CommandLine.Parse(terminal, arguments);
        if (parsed.Errors.Count == 0)
        {
            var path = CommandLine.PathOf(parsed);
            var (need, scope) = Remote.Of(parsed) ?? throw new ForbiddenException(Remote.OnlyThere(path));
            if (ApiGate.Refusal(need, scope, caller.Grant, caller.OwnDistrict) is { } refusal)
            {
                throw new ForbiddenException(refusal);
            }
        }

        http.Response.ContentType = "application/x-ndjson; charset=utf-8";

        // A proxy that gathers an answer first would show no progress.
        http.Response.Headers["X-Accel-Buffering"] = "no";
        var sending = SendAsync(frames.Reader, http);
        try
        {
            var exit = await CommandLine.RunAsync(arguments, terminal, http.RequestAborted);
            await frames.Writer.WriteAsync(new CommandFrame { Exit = exit }, CancellationToken.None);
        }
        catch (Exception e) when (http.RequestAborted.IsCancellationRequested)
        {
            logger.LogDebug(e, "Whoever sent a command has gone away");
        }
        finally
        {
            frames.Writer.TryComplete();
            await sending;
        }
    }

    private static async Task SendAsync(ChannelReader<CommandFrame> frames, HttpContext http)
    {
        try
        {
            await http.Response.StartAsync(http.RequestAborted);
            var more = frames.WaitToReadAsync(CancellationToken.None).AsTask();
            while (true)
            {
                if (await Task.WhenAny(more, Task.Delay(s_quiet, http.RequestAborted)) != more)
                {
                    http.RequestAborted.ThrowIfCancellationRequested();
                    await WriteAsync(new CommandFrame());
                }
                else if (await more)
                {
                    while (frames.TryRead(out var frame))
                    {
                        await WriteAsync(frame);
                    }

                    more = frames.WaitToReadAsync(CancellationToken.None).AsTask();
                }
                else
                {
                    return;
                }

                await http.Response.Body.FlushAsync(http.RequestAborted);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            // Nobody reads any more: the command must not wait for its own words to be taken.
            await foreach (var _ in frames.ReadAllAsync(CancellationToken.None)) { }
        }

        async Task WriteAsync(CommandFrame frame)
        {
            await JsonSerializer.SerializeAsync(http.Response.Body, frame, s_json, http.RequestAborted);
            await http.Response.Body.WriteAsync("\n"u8.ToArray(), http.RequestAborted);
        }
    }

    /// <summary>What a command writes, in pieces.</summary>
    private sealed class FrameWriter(ChannelWriter<CommandFrame> frames, Func<string, CommandFrame> of) : TextWriter
    {
        private const int Piece = 16 * 1024;
        private readonly StringBuilder _text = new();

        public override Encoding Encoding => Encoding.UTF8;

        public override void Write(char value) => _text.Append(value);

        public override void Write(string? value) => _text.Append(value);

        public override void Write(char[] buffer, int index, int count) => _text.Append(buffer, index, count);

        public override void WriteLine() => Write('\n');

        public override void WriteLine(string? value)
        {
            Write(value);
            Write('\n');
        }

        public override Task WriteAsync(char value)
        {
            Write(value);
            return MayFlushAsync();
        }

        public override Task WriteAsync(string? value)
        {
            Write(value);
            return MayFlushAsync();
        }

        public override Task WriteLineAsync(string? value)
        {
            WriteLine(value);
            return MayFlushAsync();
        }

        public override Task WriteLineAsync() => WriteAsync('\n');

        public override async Task FlushAsync()
        {
            if (_text.Length > 0)
            {
                var text = _text.ToString();
                _text.Clear();
                await frames.WriteAsync(of(text));
            }
        }

        public override Task FlushAsync(CancellationToken cancellationToken) => FlushAsync();

        [AllowNull]
        public override string NewLine
        {
            get => "\n";
            set => throw new NotSupportedException();
        }

        private Task MayFlushAsync() => _text.Length < Piece ? Task.CompletedTask : FlushAsync();
    }

    /// <summary>The files that came along with a command, and those that it writes where it was typed. No file of this machine.</summary>
    private sealed class SentFiles(
        IReadOnlyDictionary<string, byte[]> sent,
        IReadOnlyDictionary<string, string> fullNames,
        ChannelWriter<CommandFrame> frames
    ) : IFiles
    {
        public Stream OpenRead(string path) =>
            sent.TryGetValue(path, out var content)
                ? new MemoryStream(content, writable: false)
                : throw new FileNotFoundException($"The file {path} was not sent.");

        public string FullName(string path) => fullNames.GetValueOrDefault(path, path);

        public async Task<long> WriteAsync(string path, Func<TextWriter, Task<long>> write)
        {
            await using var writer = new FrameWriter(frames, text => new CommandFrame { File = path, Text = text });
            var count = await write(writer);
            await writer.FlushAsync();
            await frames.WriteAsync(new CommandFrame { File = path });
            return count;
        }
    }

    /// <summary>Tells the other side what it asked for; twice a second is enough for the eye.</summary>
    private sealed class Watcher(ChannelWriter<CommandFrame> frames) : IWatcher
    {
        private const int EveryMilliseconds = 400;
        private readonly Pace _pace = new(TimeProvider.System);
        private long _last = -EveryMilliseconds;

        public void Began(long operation) => frames.TryWrite(new CommandFrame { Operation = operation });

        public void Report(OperationStage stage, string? text, long done, long total)
        {
            var now = Environment.TickCount64;
            _pace.Report(stage, text, done);
            if (now - _last >= EveryMilliseconds)
            {
                _last = now;
                frames.TryWrite(
                    new CommandFrame
                    {
                        Progress = new(
                            text ?? (stage == OperationStage.Waiting ? "Waiting for its turn" : stage.ToString()),
                            done,
                            total == 0 ? null : total,
                            _pace.Rate,
                            Pace.SecondsLeft(_pace.Rate, done, total)
                        ),
                    }
                );
            }
        }
    }
}
