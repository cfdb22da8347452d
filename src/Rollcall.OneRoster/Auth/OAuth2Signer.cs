using System.Globalization;
using System.Text;
using System.Text.Json;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Auth;

/// <summary>Keeps one access token fresh. Its source sends one request at a time, so no two fetches ever run together.</summary>
internal sealed class OAuth2Signer : IRequestSigner, IDisposable
{
    private const int MostTokenAnswer = 64 * 1024;
    private static readonly TimeSpan UnstatedLife = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan LongestLife = TimeSpan.FromDays(1);

    private readonly string key;
    private readonly string secret;
    private readonly TimeProvider time;
    private readonly string url;
    private readonly string host;
    private readonly Transport transport;
    private string? token;
    private DateTimeOffset renewAt;

    public OAuth2Signer(
        string tokenUrl,
        string key,
        string secret,
        TokenRequestForm form,
        string? scope,
        AddressGuard guard,
        RosterClientOptions options
    )
    {
        this.key = key;
        this.secret = secret;
        time = options.Time;
        List<KeyValuePair<string, string>> parameters = [new("grant_type", "client_credentials")];
        if (!string.IsNullOrWhiteSpace(scope))
        {
            parameters.Add(new("scope", scope.Trim()));
        }

        if (form != TokenRequestForm.Basic)
        {
            parameters.Add(new("client_id", key));
            parameters.Add(new("client_secret", secret));
        }

        var question = tokenUrl.IndexOf('?', StringComparison.Ordinal);
        var path = question < 0 ? tokenUrl : tokenUrl[..question];
        var query = question < 0 ? "" : tokenUrl[question..];
        if (form == TokenRequestForm.Query)
        {
            query +=
                (
                    query.Length == 0 ? "?"
                    : query.Length == 1 ? ""
                    : "&"
                ) + string.Join('&', parameters.Select(p => p.Key + "=" + Uri.EscapeDataString(p.Value)));
        }

        if (query.Contains('#', StringComparison.Ordinal))
        {
            throw new RosterException(
                RosterFault.Unreachable,
                "The token address contains a #. Enter it as the roster server's page shows it, without that part."
            );
        }

        BaseAddress address;
        try
        {
            address = new BaseAddress(path, guard);
        }
        catch (RosterException e)
        {
            throw new RosterException(e.Fault, "The token address cannot be used. " + e.Message, e);
        }

        host = address.Host;
        url = address.With((path.EndsWith('/') ? "/" : "") + query);
        var own = options with { MaxResponseBytes = MostTokenAnswer };
        transport = new Transport(
            address,
            new ClientProof(key, secret, form == TokenRequestForm.Basic),
            guard,
            own,
            () =>
                form switch
                {
                    TokenRequestForm.Query => new ByteArrayContent([]),
                    TokenRequestForm.Json => new StringContent(
                        JsonSerializer.Serialize(parameters.ToDictionary()),
                        Encoding.UTF8,
                        "application/json"
                    ),
                    _ => new FormUrlEncodedContent(parameters),
                }
        );
    }

    public bool DependsOnClock => false;

    public IEnumerable<string> Secrets => token is null ? [secret, key] : [secret, key, token];

    public string Authorization(string url) => "Bearer " + token;

    public async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        if (token is null || time.GetUtcNow() >= renewAt)
        {
            await FetchAsync(cancellationToken);
        }
    }

    public async ValueTask<bool> RefreshAsync(CancellationToken cancellationToken)
    {
        // A server may hand the same token out again; one more try with it does no harm, and there is only one.
        await FetchAsync(cancellationToken);
        return true;
    }

    public void Dispose() => transport.Dispose();

    private async Task FetchAsync(CancellationToken cancellationToken)
    {
        // What lives as long as stated counts from before the request, not from after it.
        var asked = time.GetUtcNow();
        try
        {
            var (fresh, life) = await AskAsync(cancellationToken);
            token = fresh;
            renewAt = asked + (life * 0.9);
        }
        catch (RosterException e)
        {
            e.AtToken = true;
            e.TokenStatus = (e.InnerException as RosterException ?? e).StatusCode;
            throw;
        }
    }

    private async Task<(string Token, TimeSpan Life)> AskAsync(CancellationToken cancellationToken)
    {
        // No status is handed on: to a reader of records a 404 means that a person does not exist, a 403 that a collection is not shared, a
        // 400 that sorting is not understood, and a 204 that the list is at its end.
        try
        {
            return await transport.GetAsync(
                () => url,
                lighten: null,
                static async (_, body, cancel) => Read(await RestRosterSource.ReadAllAsync(body, cancel)),
                cancellationToken
            );
        }
        catch (RosterException e) when (e.StatusCode is 400 or 422)
        {
            throw new RosterException(
                RosterFault.CredentialsRefused,
                $"{host} hands out no access token (status {e.StatusCode}). Check key, secret, scope and the way they are sent.{e.Said}",
                e
            );
        }
        catch (RosterException e) when (e.StatusCode == 403)
        {
            throw new RosterException(
                RosterFault.CredentialsRefused,
                $"{host} denies an access token (status 403). Whoever runs that server for the district has to let this application in.{e.Said}",
                e
            );
        }
        catch (RosterException e) when (e.Fault is RosterFault.TooLarge || (e.Fault is RosterFault.NotARoster && e.StatusCode is 200))
        {
            throw new RosterException(
                RosterFault.NotARoster,
                $"{host} answers the token request with something that holds no usable access token. Check the token address.",
                e
            );
        }
        catch (RosterException e) when (e.Fault is RosterFault.NotARoster && e.StatusCode is not (null or (>= 300 and < 400)))
        {
            throw new RosterException(
                RosterFault.NotARoster,
                $"{host} hands out no tokens at this address (status {e.StatusCode}). Check the token address and its path.",
                e
            );
        }
        catch (RosterException e) when (e.StatusCode is not null)
        {
            throw new RosterException(e.Fault, e.Message, e);
        }
    }

    private static (string Token, TimeSpan Life) Read(byte[] body)
    {
        try
        {
            using var json = JsonDocument.Parse(body.AsMemory(body.AsSpan().StartsWith("\uFEFF"u8) ? 3 : 0));
            if (
                json.RootElement.ValueKind == JsonValueKind.Object
                && json.RootElement.TryGetProperty("access_token", out var value)
                && value.ValueKind == JsonValueKind.String
                && value.GetString()!.Trim() is { Length: > 0 } token
                && !token.AsSpan().ContainsAnyExceptInRange('!', '~')
                && IsBearer(json.RootElement)
            )
            {
                return (token, Life(json.RootElement));
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // Said below: whatever it is, it is no token. The parser's message could quote it, and is dropped.
        }

        throw new NotAPageException("answered without an access token");
    }

    private static bool IsBearer(JsonElement answer) =>
        !answer.TryGetProperty("token_type", out var type)
        || type.ValueKind != JsonValueKind.String
        || Blank.Is(type.GetString())
        || type.GetString()!.Trim().Equals("bearer", StringComparison.OrdinalIgnoreCase)
        || type.GetString()!.Trim().Equals("BearerToken", StringComparison.OrdinalIgnoreCase);

    private static TimeSpan Life(JsonElement answer)
    {
        if (!answer.TryGetProperty("expires_in", out var value))
        {
            return UnstatedLife;
        }

        var text = value.ValueKind == JsonValueKind.String ? value.GetString()!.Trim() : value.GetRawText();
        return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var seconds) && seconds > 0
            ? TimeSpan.FromSeconds(Math.Min(seconds, LongestLife.TotalSeconds))
            : UnstatedLife;
    }

    /// <summary>Says on a token request who asks, where that goes into a header.</summary>
    private sealed class ClientProof(string key, string secret, bool basic) : IRequestSigner
    {
        // The standard encodes both before they are joined; ClassLink's servers, and others that never heard of that, take them as they are.
        private readonly string encoded = Base64(Uri.EscapeDataString(key) + ":" + Uri.EscapeDataString(secret));
        private readonly string plain = Base64(key + ":" + secret);
        private bool asTheyAre;

        public string? Authorization(string url) => basic ? "Basic " + (asTheyAre ? plain : encoded) : null;

        /// <summary>After a refusal the other form is tried, where it is another one; the one that is accepted stays.</summary>
        public ValueTask<bool> RefreshAsync(CancellationToken cancellationToken)
        {
            var otherwise = basic && plain != encoded;
            asTheyAre ^= otherwise;
            return ValueTask.FromResult(otherwise);
        }

        public bool DependsOnClock => false;

        public IEnumerable<string> Secrets => [encoded, plain, secret, key];

        private static string Base64(string text) => Convert.ToBase64String(Encoding.UTF8.GetBytes(text));
    }
}
