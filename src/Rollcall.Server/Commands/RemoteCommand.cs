using System.CommandLine;
using System.CommandLine.Parsing;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Rollcall.Operations;
using Rollcall.Server.Api;
using Rollcall.SignIn;
using Spectre.Console;

namespace Rollcall.Server.Commands;

/// <summary><c>--server</c>: sends a command to another machine's server, and shows what it says as if it had run here.</summary>
internal sealed class RemoteCommand
{
    private const string TokenVariable = "ROLLCALL_TOKEN_FILE";
    private static readonly TimeSpan s_connect = TimeSpan.FromSeconds(15);

    /// <summary>The server says something every 15 seconds.</summary>
    private static readonly TimeSpan s_silent = TimeSpan.FromSeconds(60);

    /// <summary>How long after a broken connection the operation is asked for again; some two minutes in all, for a server that starts anew.</summary>
    private static readonly TimeSpan[] s_again = [.. new[] { 1, 2, 4, 8, 15, 30, 60 }.Select(s => TimeSpan.FromSeconds(s))];

    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web);

    private readonly Terminal _terminal;
    private readonly Uri _server;
    private readonly Dictionary<string, string> _written = new(StringComparer.Ordinal);
    private long? _operation;
    private bool _hasSpoken;
    private bool _isFollowing;

    private RemoteCommand(Terminal terminal, Uri server)
    {
        _terminal = terminal;
        _server = server;
    }

    /// <summary>The line asks for another machine's server, and for more than help.</summary>
    public static bool IsMeant(ParseResult result, Terminal terminal) =>
        terminal.Caller is null
        && result.GetResult(GlobalOptions.Server) is not null
        && result.Action is not null
        && ReferenceEquals(result.Action, result.CommandResult.Command.Action);

    /// <summary>A token is for another machine's server alone: without one, the command would run here, with the right of whoever owns this machine.</summary>
    /// <exception cref="UsageException">A token is named and no server.</exception>
    public static void CheckMeant(ParseResult result, Terminal terminal)
    {
        if (
            terminal.Caller is null
            && result.GetResult(GlobalOptions.TokenFile) is not null
            && result.GetResult(GlobalOptions.Server) is null
            && result.Action is not null
            && ReferenceEquals(result.Action, result.CommandResult.Command.Action)
        )
        {
            throw new UsageException(
                "--token-file needs --server URL: a token is for another machine's server. Without both, the command runs here."
            );
        }
    }

    /// <summary>Sends the command and shows what comes of it.</summary>
    /// <returns>The exit code that the server's command ended with.</returns>
    /// <exception cref="UsageException">It cannot be sent like this.</exception>
    /// <exception cref="RollcallException">It is refused, or the server cannot be reached.</exception>
    public static async Task<int> RunAsync(ParseResult result, Terminal terminal, CancellationToken cancellationToken)
    {
        var path = CommandLine.PathOf(result);
        if (Remote.Of(path) is null)
        {
            throw new UsageException(Remote.OnlyThere(path));
        }

        if (result.GetResult(GlobalOptions.Data) is not null || result.GetResult(GlobalOptions.Database) is not null)
        {
            throw new UsageException("--server goes with neither --data nor --database: the server knows where its data is.");
        }

        var command = new RemoteCommand(terminal, Address(result.GetValue(GlobalOptions.Server)));
        var token = await TokenAsync(result, terminal, cancellationToken);
        var body = await command.BodyAsync(result, cancellationToken);
        try
        {
            return await command.FollowAsync(body, token, cancellationToken);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested && command._operation is { } id)
        {
            throw new RollcallException(
                $"Interrupted. Operation {id} goes on at {command.Name}: 'rollcall operation show {id}' with the same --server tells how far it is, 'operation cancel {id}' stops it."
            );
        }
        catch (Exception e)
            when (e is HttpRequestException or IOException or JsonException
                || (e is OperationCanceledException && !cancellationToken.IsCancellationRequested)
            )
        {
            throw new RollcallException(command.Sentence(e), e);
        }
    }

    private string Name => _server.GetLeftPart(UriPartial.Authority);

    private static Uri Address(string? text)
    {
        if (
            !Uri.TryCreate(GlobalOptions.Given(text)?.Trim(), UriKind.Absolute, out var uri)
            || uri.Scheme is not ("https" or "http")
            || uri is not { AbsolutePath: "/", Query: "", Fragment: "", UserInfo: "" }
        )
        {
            throw new UsageException("--server needs an address and no more, like https://library.example.");
        }

        return uri.Scheme == Uri.UriSchemeHttps || uri.IsLoopback
            ? uri
            : throw new UsageException(
                $"--server {uri.GetLeftPart(UriPartial.Authority)} would send the token in the clear: write https://, which all but this machine's own servers need."
            );
    }

    private static async Task<string> TokenAsync(ParseResult result, Terminal terminal, CancellationToken cancellationToken)
    {
        var file =
            GlobalOptions.Given(result.GetValue(GlobalOptions.TokenFile))
            ?? GlobalOptions.Given(terminal.Variable(TokenVariable))
            ?? throw new UsageException(
                result.CommandResult.Command.Options.Any(o => o.Name == GlobalOptions.TokenFile.Name)
                    ? $"--server needs an access token. Here --token-file is the roster's: name the server's in the variable {TokenVariable}."
                    : "--server needs --token-file F, a file with an access token alone: 'rollcall token create' on the server, or its page Preferences, Access Tokens, makes one."
            );
        var token = await Arguments.SecretAsync(terminal.Files, file, "token", cancellationToken);
        const UnixFileMode others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
        if (!OperatingSystem.IsWindows() && (File.GetUnixFileMode(file) & others) != UnixFileMode.None)
        {
            throw new RollcallException($"The token file {file} is open to others on this machine. Close it to them: chmod 600 {file}");
        }

        return token.StartsWith(AccessTokens.Prefix, StringComparison.Ordinal)
            ? token
            : throw new RollcallException($"The token file {file} holds no access token: those begin with {AccessTokens.Prefix}.");
    }

    /// <summary>The words without those that are for this side, and the files that they name.</summary>
    private async Task<CommandBody> BodyAsync(ParseResult result, CancellationToken cancellationToken)
    {
        var own = new[] { GlobalOptions.Server, GlobalOptions.TokenFile }
            .Select(o => result.GetResult(o))
            .OfType<OptionResult>()
            .SelectMany(r => r.Tokens.Append(r.IdentifierToken))
            .ToHashSet(ReferenceEqualityComparer.Instance);
        var files = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (var child in result.CommandResult.Children)
        {
            var (name, isWritten) = child switch
            {
                OptionResult { Option: FileOption option } => (result.GetValue(option), option.IsWritten),
                ArgumentResult { Argument: FileArgument argument } => (result.GetValue(argument), false),
                _ => (null, false),
            };
            if (GlobalOptions.Given(name) is not { } file)
            {
                continue;
            }

            if (isWritten)
            {
                _written[file] = _terminal.Files.FullName(file);
            }
            else if (await ReadAsync(file, cancellationToken) is { } content)
            {
                files[file] = content;
            }
        }

        return new CommandBody
        {
            Arguments = [.. result.Tokens.Where(t => !own.Contains(t)).Select(t => t.Value)],
            Files = files.Count == 0 ? null : files,
            FullNames = _written.Count == 0 ? null : _written,
            Width = _terminal.OutIsTerminal ? _terminal.Tables.Profile.Width : null,
            Ansi = _terminal.OutIsTerminal ? _terminal.Tables.Profile.Capabilities.Ansi : null,
        };
    }

    /// <summary>What a file holds; null where there is none: the command has words of its own for that.</summary>
    private async Task<byte[]?> ReadAsync(string file, CancellationToken cancellationToken)
    {
        try
        {
            await using var stream = file == "-" ? _terminal.In() : _terminal.Files.OpenRead(file);
            using var content = new MemoryStream();
            var buffer = new byte[64 * 1024];
            int read;
            while ((read = await stream.ReadAsync(buffer, cancellationToken)) > 0)
            {
                content.Write(buffer, 0, read);
                if (content.Length > Remote.LargestFile)
                {
                    throw new RollcallException(
                        $"The file {file} is larger than the {Remote.LargestFile / 1024 / 1024} MB that go over the API. Divide it, or run the command on the server's own machine."
                    );
                }
            }

            return content.ToArray();
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new RollcallException($"The file {file} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Sends the command. Where the connection breaks once its operation is known, that is followed again: nothing is started twice.</summary>
    private async Task<int> FollowAsync(CommandBody body, string token, CancellationToken cancellationToken)
    {
        for (var pause = 0; ; )
        {
            try
            {
                return await SendAsync(_operation is { } id ? body with { Follow = id, Files = null } : body, token, cancellationToken);
            }
            catch (RollcallException e) when (_operation is not null)
            {
                throw new RollcallException($"Operation {_operation} goes on at {Name}, and cannot be followed: {e.Message}", e);
            }
            catch (Exception e)
                when (IsBroken(e, cancellationToken) && _operation is not null && !_hasSpoken && (_isFollowing || pause < s_again.Length))
            {
                // Whoever was heard from meanwhile is waited for anew.
                pause = _isFollowing ? 0 : pause;
                _isFollowing = false;
                if (pause == 0)
                {
                    // Said once, however often it is tried again.
                    await _terminal.Error.WriteLineAsync(
                        $"The connection to {Name} broke. Operation {_operation} is followed as soon as it answers."
                    );
                }

                await Task.Delay(s_again[pause++], cancellationToken);
            }
        }
    }

    private static bool IsBroken(Exception e, CancellationToken cancellationToken) =>
        e is HttpRequestException or IOException || (e is OperationCanceledException && !cancellationToken.IsCancellationRequested);

    private async Task<int> SendAsync(CommandBody body, string token, CancellationToken cancellationToken)
    {
        // A redirect is told and not followed: the token is for this server.
        using var handler = new SocketsHttpHandler { AllowAutoRedirect = false, ConnectTimeout = s_connect };
        using var http = new HttpClient(handler) { Timeout = Timeout.InfiniteTimeSpan };
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(_server, $"{ApiGate.Root}/{ApiRoutes.Version}{Remote.Path}"));
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        request.Content = JsonContent.Create(body, options: s_json);
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        silence.CancelAfter(s_silent);
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, silence.Token);
        if (
            _operation is not null
            && response.StatusCode is (HttpStatusCode.BadGateway or HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout)
        )
        {
            throw new HttpRequestException("The server is not back yet.");
        }

        if (!response.IsSuccessStatusCode)
        {
            throw new RollcallException(await RefusalAsync(response, silence.Token));
        }

        if (response.Content.Headers.ContentType?.MediaType != "application/x-ndjson")
        {
            throw new RollcallException(NoServer());
        }

        await using var stream = await response.Content.ReadAsStreamAsync(silence.Token);
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return await ShowAsync(async () =>
        {
            silence.CancelAfter(s_silent);
            var line = await reader.ReadLineAsync(silence.Token) ?? throw new IOException("The answer ends before the command does.");
            _isFollowing = true;
            return JsonSerializer.Deserialize<CommandFrame>(line, s_json) ?? new CommandFrame();
        });
    }

    private async Task<int> ShowAsync(Func<Task<CommandFrame>> next)
    {
        var lines = new ProgressLines(_terminal, TimeProvider.System);
        var frame = await next();
        while (true)
        {
            if (frame.Exit is { } exit)
            {
                return exit;
            }

            if (frame.Progress is not null)
            {
                frame = _terminal.ErrorIsTerminal
                    ? await ProgressBar.ShowAsync(_terminal, report => FollowAsync(frame, next, report))
                    : await FollowAsync(frame, next, lines.Report);
                continue;
            }

            if (frame.File is { } file)
            {
                await ReceiveAsync(file, frame, next);
            }
            else if (frame.Error is { } error)
            {
                await _terminal.Error.WriteAsync(error);
            }
            else if (frame.Out is { } text)
            {
                _hasSpoken = true;
                await _terminal.Out.WriteAsync(text);
            }

            _operation = frame.Operation ?? _operation;
            frame = await next();
        }
    }

    /// <summary>Shows progress for as long as there is nothing else.</summary>
    /// <returns>The first line that is none.</returns>
    private static async Task<CommandFrame> FollowAsync(
        CommandFrame frame,
        Func<Task<CommandFrame>> next,
        Action<OperationStage, string?, long, long> report
    )
    {
        while (frame is { Out: null, Error: null, File: null, Operation: null, Exit: null })
        {
            if (frame.Progress is { } at)
            {
                report(OperationStage.Waiting, at.Stage, at.Done, at.Total ?? 0);
            }

            frame = await next();
        }

        return frame;
    }

    private async Task ReceiveAsync(string file, CommandFrame first, Func<Task<CommandFrame>> next)
    {
        if (!_written.ContainsKey(file))
        {
            throw new RollcallException($"{Name} sends a file that the command does not name. Nothing was written.");
        }

        await _terminal.Files.WriteAsync(
            file,
            async writer =>
            {
                for (var frame = first; ; frame = await next())
                {
                    if (frame.File == file && frame.Text is null)
                    {
                        return 1;
                    }

                    // What came instead says why the file is not whole.
                    if (frame.Error is { } error)
                    {
                        await _terminal.Error.WriteAsync(error);
                    }

                    if (frame.Exit is not null)
                    {
                        throw new IOException("The server gave up before it was whole.");
                    }

                    await writer.WriteAsync(frame.File == file ? frame.Text : null);
                }
            }
        );
    }

    private async Task<string> RefusalAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        if (response is { StatusCode: >= HttpStatusCode.MultipleChoices and < HttpStatusCode.BadRequest, Headers.Location: { } to })
        {
            return $"{Name} sends on to {new Uri(_server, to).GetLeftPart(UriPartial.Authority)}: name the address that answers itself.";
        }

        if (response.Content.Headers.ContentType?.MediaType != "application/problem+json")
        {
            return response.StatusCode is HttpStatusCode.BadGateway or HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout
                ? $"What stands in front of {Name} cannot reach Rollcall ({(int)response.StatusCode}). See whether it runs there."
                : NoServer();
        }

        var problem = await response.Content.ReadFromJsonAsync<ApiProblem>(s_json, cancellationToken);
        return response.StatusCode is HttpStatusCode.NotFound or HttpStatusCode.MethodNotAllowed
            ? $"The server at {Name} is older than this program and takes no commands. Bring it up to date, or run the command there."
            : problem?.Detail ?? NoServer();
    }

    private string NoServer() =>
        $"What answers at {Name} is no Rollcall server, or something in front of it answers instead. See that the address is right.";

    private string Sentence(Exception e) =>
        _operation is { } id
            ? $"The connection to {Name} broke. Operation {id} goes on there: 'rollcall operation show {id}' with the same --server tells what came of it."
        : e is HttpRequestException { HttpRequestError: HttpRequestError.NameResolutionError }
            ? $"There is no machine {_server.Host}, or its name cannot be looked up. See that the address is right."
        : e is HttpRequestException { HttpRequestError: HttpRequestError.SecureConnectionError }
            ? $"The connection to {Name} cannot be trusted: {(e.InnerException ?? e).Message.TrimEnd('.')}. Its certificate has to be valid for this name, and known to this machine."
        : e is HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError } or OperationCanceledException
            ? $"{Name} does not answer. See that the address is right and that the server runs."
        : $"The connection to {Name} broke. See there what came of the command before you repeat it.";
}
