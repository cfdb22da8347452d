using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;
using System.Text.Json;
using Rollcall.OneRoster.Auth;

namespace Rollcall.OneRoster.Rest;

/// <summary>Sends signed GET requests, the next when the answer to one has been received, with retries, and turns every failure into a <see cref="RosterException"/>.</summary>
internal sealed class Transport : IDisposable
{
    private const int MostServerText = 200;
    private const int MostErrorBody = 16 * 1024;
    private const string DisabledByUser = "Application API Disabled by User";

    private readonly RosterClientOptions options;
    private readonly IRequestSigner signer;
    private readonly Func<HttpContent?>? post;
    private readonly string host;
    private readonly HttpMessageInvoker http;
    private readonly SemaphoreSlim oneAtATime = new(1, 1);
    private int sent;

    public Transport(BaseAddress address, RosterCredentials credentials, AddressGuard guard, RosterClientOptions options)
        : this(address, credentials.CreateSigner(guard, options), guard, options, post: null) { }

    /// <summary>With <paramref name="post"/>, every try is a POST with the body that it makes; otherwise a GET.</summary>
    internal Transport(
        BaseAddress address,
        IRequestSigner signer,
        AddressGuard guard,
        RosterClientOptions options,
        Func<HttpContent?>? post
    )
    {
        this.signer = signer;
        this.post = post;
        this.options = options;
        host = address.Host;
        http = new HttpMessageInvoker(
            new SocketsHttpHandler
            {
                // A redirect would carry the credentials to whoever it names.
                AllowAutoRedirect = false,
                UseCookies = false,
                AutomaticDecompression = DecompressionMethods.GZip,
                PooledConnectionLifetime = TimeSpan.FromMinutes(5),
                ConnectCallback = guard.ConnectAsync,
            }
        );
    }

    /// <summary>What the server's clock said in its first answer; <see langword="null"/> before one, and when it says nothing.</summary>
    public DateTimeOffset? ServerTime { get; private set; }

    /// <summary>Gets a page and reads it.</summary>
    /// <param name="url">Makes the URL; asked again for every try.</param>
    /// <param name="lighten">Called when the server seems to find the page too heavy; <see langword="null"/> when it cannot be made lighter.</param>
    /// <param name="read">Reads the body of a 200. Run to its end before anything of it is used; run again when the connection breaks.</param>
    /// <param name="cancellationToken">Stops the request, the wait and the reading.</param>
    public async Task<TResult> GetAsync<TResult>(
        Func<string> url,
        Action? lighten,
        Func<HttpResponseMessage, Stream, CancellationToken, ValueTask<TResult>> read,
        CancellationToken cancellationToken
    )
    {
        var turn = new Turn(oneAtATime);
        try
        {
            var heavy = 0;
            var refreshed = false;
            var waited = TimeSpan.Zero;
            for (var failures = 0; ; )
            {
                await turn.TakeAsync(cancellationToken);
                if (++sent > options.MaxRequests)
                {
                    throw new RosterException(
                        RosterFault.TooLarge,
                        $"{host} was asked {options.MaxRequests} times and still had more: it sends records without end. Tell its operator."
                    );
                }

                await signer.PrepareAsync(cancellationToken);
                var (outcome, result) = await TryAsync(url(), read, turn, cancellationToken);
                if (outcome is null)
                {
                    return result!;
                }

                if (outcome.Unauthorized)
                {
                    if (!refreshed && await signer.RefreshAsync(cancellationToken))
                    {
                        refreshed = true;
                        continue;
                    }

                    throw outcome.Failure;
                }

                if (!outcome.Transient || failures == options.RetryDelays.Count)
                {
                    throw outcome.Failure;
                }

                if (outcome.RetryAfter > options.LongestRetryAfter)
                {
                    throw new RosterException(
                        RosterFault.Unreachable,
                        $"{host} asks to wait {outcome.RetryAfter.Value.TotalMinutes:0} minutes before the next request. Try again later.",
                        outcome.Failure
                    )
                    {
                        StatusCode = outcome.Failure.StatusCode,
                    };
                }

                var wait = options.RetryDelays[failures] + (options.Jitter * Random.Shared.NextDouble());
                if (outcome.RetryAfter > wait)
                {
                    wait = outcome.RetryAfter.Value;
                }

                waited += wait;
                if (waited > options.LongestRetryAfter && outcome.RetryAfter is not null)
                {
                    throw new RosterException(
                        RosterFault.Unreachable,
                        $"{host} asks for the same request to wait again and again, {waited.TotalMinutes:0} minutes in all by now. Try again later.",
                        outcome.Failure
                    )
                    {
                        StatusCode = outcome.Failure.StatusCode,
                    };
                }

                failures++;
                if (outcome.Heavy && ++heavy >= 2)
                {
                    lighten?.Invoke();
                }

                await Task.Delay(wait, options.Time, cancellationToken);
            }
        }
        finally
        {
            turn.End();
        }
    }

    public void Dispose()
    {
        http.Dispose();
        oneAtATime.Dispose();
        (signer as IDisposable)?.Dispose();
    }

    /// <summary>The right to ask the server, which ends when all of the answer has been received.</summary>
    private sealed class Turn(SemaphoreSlim gate)
    {
        private int held;

        public async ValueTask TakeAsync(CancellationToken cancellationToken)
        {
            if (Volatile.Read(ref held) == 0)
            {
                await gate.WaitAsync(cancellationToken);
                Volatile.Write(ref held, 1);
            }
        }

        public void End()
        {
            if (Interlocked.Exchange(ref held, 0) == 1)
            {
                gate.Release();
            }
        }
    }

    private sealed record Outcome(RosterException Failure)
    {
        public bool Transient { get; init; }
        public bool Heavy { get; init; }
        public bool Unauthorized { get; init; }
        public TimeSpan? RetryAfter { get; init; }
    }

    private async Task<(Outcome? Outcome, TResult? Result)> TryAsync<TResult>(
        string url,
        Func<HttpResponseMessage, Stream, CancellationToken, ValueTask<TResult>> read,
        Turn turn,
        CancellationToken cancellationToken
    )
    {
        using var deadline = new CancellationTokenSource(options.Timeout, options.Time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        try
        {
            using var request = new HttpRequestMessage(post is null ? HttpMethod.Get : HttpMethod.Post, BaseAddress.ToUri(url));
            request.Content = post?.Invoke();
            request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue("application/json"));
            request.Headers.TryAddWithoutValidation("User-Agent", options.UserAgent);
            if (signer.Authorization(url) is { } authorization)
            {
                request.Headers.TryAddWithoutValidation("Authorization", authorization);
            }

            using var response = await http.SendAsync(request, linked.Token);
            ServerTime ??= response.Headers.Date;
            if (response.StatusCode != HttpStatusCode.OK)
            {
                return (await JudgeAsync(response, linked.Token), default);
            }

            if (response.Content.Headers.ContentLength > options.MaxResponseBytes)
            {
                throw new BodyTooLargeException();
            }

            await using var body = new CappedStream(
                await response.Content.ReadAsStreamAsync(linked.Token),
                options.MaxResponseBytes,
                () =>
                {
                    // Nothing more is expected of the server, however long the answer is worked on here.
                    deadline.CancelAfter(Timeout.InfiniteTimeSpan);
                    turn.End();
                }
            );
            return (null, await read(response, body, linked.Token));
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            return (
                new Outcome(
                    new RosterException(
                        RosterFault.Unreachable,
                        $"{host} did not answer within {options.Timeout.TotalSeconds:0} seconds. Try again later.",
                        e
                    )
                )
                {
                    Transient = true,
                    Heavy = true,
                },
                default
            );
        }
        catch (HttpRequestException e) when (Find<RosterException>(e) is { } refused)
        {
            return (new Outcome(refused), default);
        }
        catch (HttpRequestException e) when (Find<SocketException>(e) is { SocketErrorCode: SocketError.HostNotFound })
        {
            return (
                new Outcome(new RosterException(RosterFault.Unreachable, $"There is no host named {host}. Check the address.", e)),
                default
            );
        }
        catch (HttpRequestException e) when (Find<AuthenticationException>(e) is { } refused)
        {
            return (
                new Outcome(
                    new RosterException(
                        RosterFault.Unreachable,
                        $"{host} has no valid certificate for a secure connection: {Distrust(refused.Message)}. Check the address, or ask its operator.",
                        e
                    )
                ),
                default
            );
        }
        catch (Exception e) when (e is HttpRequestException or IOException or SocketException or InvalidDataException)
        {
            var reason = e
                is not HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError or HttpRequestError.ProxyTunnelError }
                ? $"The connection to {host} broke off before the answer was complete. Try again later."
                : $"{host} cannot be reached. Check the address and this computer's network, or try again later.";
            return (new Outcome(new RosterException(RosterFault.Unreachable, reason, e)) { Transient = true }, default);
        }
        catch (NotAPageException e)
        {
            return (
                new Outcome(
                    new RosterException(RosterFault.NotARoster, $"{host} {e.Message}. Check the address and what the district shares.", e)
                    {
                        StatusCode = 200,
                    }
                ),
                default
            );
        }
        catch (BodyTooLargeException e)
        {
            var most =
                options.MaxResponseBytes >= 1024 * 1024
                    ? $"{options.MaxResponseBytes / (1024 * 1024)} MB"
                    : $"{options.MaxResponseBytes} bytes";
            return (
                new Outcome(
                    new RosterException(
                        RosterFault.TooLarge,
                        $"The answer of {host} is larger than the {most} that are accepted. Choose a smaller page size.",
                        e
                    )
                ),
                default
            );
        }
    }

    /// <summary>Why a certificate was not believed. The runtime names the reasons by words of its own.</summary>
    private static string Distrust(string message)
    {
        (string Word, string Meaning)[] reasons =
        [
            ("NameMismatch", "it is made out to another name"),
            ("NotTimeValid", "it has expired, or is not valid yet by this computer's clock"),
            ("Revoked", "it was revoked"),
            ("UntrustedRoot", "nobody whom this computer trusts has signed it"),
            ("PartialChain", "nobody whom this computer trusts has signed it, or the server leaves out who did"),
        ];
        var found = reasons.Where(r => message.Contains(r.Word, StringComparison.Ordinal)).Select(r => r.Meaning).ToList();
        return found.Count > 0 ? string.Join(" and ", found) : "the two found no way of speaking that both accept";
    }

    private async ValueTask<Outcome> JudgeAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        var status = (int)response.StatusCode;
        var said = "";
        if (status is >= 300 and < 400)
        {
            var target = response.Headers.Location is { } location
                ? Uri.TryCreate(response.RequestMessage!.RequestUri, location, out var absolute)
                    ? absolute.Host
                    : "an unreadable address"
                : "nowhere";
            return Fail(
                RosterFault.NotARoster,
                $"{host} redirects to {target} (status {status}), which is not followed. Enter the roster server's own address."
            );
        }

        var text = await ErrorTextAsync(response, cancellationToken);
        said = Quote(text);
        switch (status)
        {
            case 401:
                return Unauthorized(response, said);
            case 403 when text.Contains(DisabledByUser, StringComparison.OrdinalIgnoreCase):
                return Fail(
                    RosterFault.AccessDisabled,
                    $"The district has switched this application's API off in Roster Server (status 403 from {host}). An administrator of the district enables it there."
                );
            case 403:
                return Fail(
                    RosterFault.AccessDisabled,
                    $"{host} accepts the credentials but denies access (status 403). Whoever runs that server for the district has to share this data.{said}"
                );
            case 429:
                return Fail(
                    RosterFault.Unreachable,
                    $"{host} says that too many requests were made (status 429). Try again later.{said}"
                ) with
                {
                    Transient = true,
                    RetryAfter = RetryAfter(response),
                };
            case 408 or 500 or 502 or 503 or 504:
                return Fail(
                    RosterFault.Unreachable,
                    $"{host} has an error of its own (status {status}). Try again later, or tell its operator.{said}"
                ) with
                {
                    Transient = true,
                    Heavy = status != 500,
                    RetryAfter = RetryAfter(response),
                };
            case >= 500:
                return Fail(
                    RosterFault.Unreachable,
                    $"{host} has an error of its own (status {status}). Try again later, or tell its operator.{said}"
                );
            case 404 or 405 or 410:
                return Fail(
                    RosterFault.NotARoster,
                    $"{host} has no roster at this address (status {status}). Check the address and its path.{said}"
                );
            case < 300:
                return Fail(RosterFault.NotARoster, $"{host} answered without a roster (status {status}). Check the address.");
            default:
                return Fail(RosterFault.Refused, $"{host} refuses the request (status {status}).{said}");
        }

        Outcome Fail(RosterFault fault, string message) => new(new RosterException(fault, message) { StatusCode = status, Said = said });
    }

    private Outcome Unauthorized(HttpResponseMessage response, string said)
    {
        if (signer.DependsOnClock && response.Headers.Date is { } theirs)
        {
            var ahead = options.Time.GetUtcNow() - theirs;
            if (ahead.Duration() > TimeSpan.FromMinutes(5))
            {
                return new Outcome(
                    new RosterException(
                        RosterFault.ClockSkew,
                        $"This computer's clock is {ahead.Duration().TotalMinutes:0} minutes {(ahead > TimeSpan.Zero ? "ahead of" : "behind")} "
                            + $"{host}, which therefore refuses signed requests. Set the clock right."
                    )
                    {
                        StatusCode = 401,
                    }
                );
            }
        }

        return new Outcome(
            new RosterException(
                RosterFault.CredentialsRefused,
                $"{host} refuses {signer.Refusal ?? "the credentials (status 401). Check key and secret or token with the district."}{said}"
            )
            {
                StatusCode = 401,
            }
        )
        {
            Unauthorized = true,
        };
    }

    /// <summary>How long to wait. A date is one by the server's clock, which may be hours from this one.</summary>
    private TimeSpan? RetryAfter(HttpResponseMessage response)
    {
        var header = response.Headers.RetryAfter;
        var wait = header?.Delta ?? (header?.Date is { } date ? date - (response.Headers.Date ?? options.Time.GetUtcNow()) : null);
        return wait > TimeSpan.Zero ? wait : null;
    }

    private static async ValueTask<string> ErrorTextAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        try
        {
            await using var body = await response.Content.ReadAsStreamAsync(cancellationToken);
            var buffer = new byte[MostErrorBody];
            var length = await body.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken);
            return Encoding.UTF8.GetString(buffer, 0, length);
        }
        catch (Exception e) when (e is IOException or HttpRequestException or InvalidDataException)
        {
            // The status alone decides; the text is only for people.
            return "";
        }
    }

    /// <summary>The sentence for people in an error body, wherever the two versions of OneRoster and others put it.
    /// Without one, the body itself.</summary>
    private static string Sentence(string text)
    {
        if (!text.AsSpan().TrimStart().StartsWith("{"))
        {
            return text;
        }

        try
        {
            using var json = JsonDocument.Parse(text);
            var error = json.RootElement;
            foreach (var wrapper in (ReadOnlySpan<string>)["statusInfoSet", "imsx_StatusInfo", "error"])
            {
                if (error.TryGetProperty(wrapper, out var inner))
                {
                    inner = inner.ValueKind == JsonValueKind.Array && inner.GetArrayLength() > 0 ? inner[0] : inner;
                    error = inner.ValueKind == JsonValueKind.Object ? inner : error;
                }
            }

            foreach (var name in (ReadOnlySpan<string>)["imsx_description", "message", "error_description", "error", "detail", "title"])
            {
                if (
                    error.TryGetProperty(name, out var sentence)
                    && sentence.ValueKind == JsonValueKind.String
                    && sentence.GetString() is { Length: > 0 } found
                )
                {
                    return found;
                }
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // Cut short, or not quite JSON: then as it is.
        }

        return text;
    }

    /// <summary>What the server said, fit for a message: one line, short, without tags, secrets and addresses of persons.</summary>
    private string Quote(string text)
    {
        // A secret may look like a tag, or have what looks like a letter written out: so it is looked for in the text as it came, too.
        text = WithoutSecrets(Sentence(text));
        if (Heading(text) is { } heading)
        {
            text = heading;
        }

        // Written out first, so that no secret hides behind a different spelling of its letters.
        text = WithoutSecrets(WebUtility.HtmlDecode(Untagged(text)));
        var kept = new StringBuilder();
        foreach (var c in text)
        {
            if (kept.Length > 2 * MostServerText)
            {
                break;
            }

            if (!char.IsSurrogate(c))
            {
                kept.Append(
                    char.GetUnicodeCategory(c)
                        is UnicodeCategory.Control
                            or UnicodeCategory.Format
                            or UnicodeCategory.LineSeparator
                            or UnicodeCategory.ParagraphSeparator
                        ? ' '
                        : c
                );
            }
        }

        var words = kept.ToString()
            .Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Select(w => w.Contains('@', StringComparison.Ordinal) ? "…" : w);
        var line = string.Join(' ', words);
        return line.Length == 0 ? "" : $" It says: {(line.Length > MostServerText ? line[..MostServerText] + "…" : line)}";
    }

    private string WithoutSecrets(string text)
    {
        foreach (var secret in signer.Secrets)
        {
            text = text.Replace(secret, "…", StringComparison.OrdinalIgnoreCase)
                .Replace(Uri.EscapeDataString(secret), "…", StringComparison.OrdinalIgnoreCase);
        }

        return text;
    }

    /// <summary>What a web page calls itself: its title, or else its first heading. The rest is menus and ways home. Null for anything else.</summary>
    private static string? Heading(string text)
    {
        foreach (var name in (ReadOnlySpan<string>)["title", "h1"])
        {
            var start = text.IndexOf($"<{name}", StringComparison.OrdinalIgnoreCase);
            var open = start < 0 ? -1 : text.IndexOf('>', start);
            var end = open < 0 ? -1 : text.IndexOf($"</{name}", open, StringComparison.OrdinalIgnoreCase);
            if (
                end > open
                && text[(start + name.Length + 1)..open] is "" or [' ', ..]
                && text.Contains("<html", StringComparison.OrdinalIgnoreCase)
                && text[(open + 1)..end] is var heading
                && !string.IsNullOrWhiteSpace(Untagged(heading))
            )
            {
                return heading;
            }
        }

        return null;
    }

    /// <summary>A text without its tags, with a blank for each.</summary>
    private static string Untagged(string text)
    {
        var kept = new StringBuilder(text.Length);
        var inTag = false;
        foreach (var c in text)
        {
            if (c is '<' or '>')
            {
                inTag = c == '<';
                kept.Append(' ');
            }
            else if (!inTag)
            {
                kept.Append(c);
            }
        }

        return kept.ToString();
    }

    private static T? Find<T>(Exception? exception)
        where T : Exception
    {
        for (; exception is not null; exception = exception.InnerException)
        {
            if (exception is T found)
            {
                return found;
            }
        }

        return null;
    }
}
