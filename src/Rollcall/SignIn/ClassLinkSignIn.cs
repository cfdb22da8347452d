using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Logging;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.OneRoster;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.SignIn;

/// <summary>How this installation is known to ClassLink, and where ClassLink is.</summary>
public sealed record ClassLinkClient
{
    public string ClientId { get; init; } = "";

    /// <summary>Protected; never shown.</summary>
    public string Secret { get; init; } = "";

    /// <summary>Issuer, authorize, token and keys.</summary>
    public string Launchpad { get; init; } = "https://launchpad.classlink.com";

    /// <summary>Who the signed-in person is.</summary>
    public string Api { get; init; } = "https://nodeapi.classlink.com";

    /// <summary>A tile's code is used as it comes, under guards; else it is dropped and the sign-in begun anew from here.</summary>
    public bool AcceptTiles { get; init; }
}

/// <summary>Why nobody was signed in. Each has words for a student.</summary>
public enum SignInRefusal
{
    None = 0,

    /// <summary>The person did not agree that ClassLink says who they are.</summary>
    Consent,

    /// <summary>ClassLink sent an error of another kind, or nothing that could be used.</summary>
    Error,

    /// <summary>A tile was begun anew again and again.</summary>
    TileGoesRound,

    /// <summary>The state is not one of this browser's: begun elsewhere, used already, or too old.</summary>
    Stale,

    /// <summary>The code was used before.</summary>
    CodeUsed,

    /// <summary>ClassLink does not take the code, or its answer proves nothing.</summary>
    NotProved,

    /// <summary>ClassLink does not answer.</summary>
    Unreachable,

    /// <summary>No district here has this tenant and lets people sign in.</summary>
    Tenant,

    /// <summary>Nobody here is this person.</summary>
    Unknown,

    /// <summary>More than one patron could be this person.</summary>
    Ambiguous,

    /// <summary>The patron's status keeps them out.</summary>
    Status,

    /// <summary>The roster disabled this person's login.</summary>
    Disabled,

    /// <summary>A tile was opened while somebody else is signed in on this browser.</summary>
    SomebodyElse,

    /// <summary>Too many sign-ins were begun from one address.</summary>
    TooMany,
}

/// <summary>What came of a callback.</summary>
/// <param name="Refusal">Why nobody was signed in.</param>
/// <param name="DistrictId">The patron's district.</param>
/// <param name="PatronId">The patron.</param>
/// <param name="Back">A path of this server to go to.</param>
/// <param name="Guid">The GUID that the patron had.</param>
public sealed record SignInResult(SignInRefusal Refusal, int DistrictId = 0, long PatronId = 0, string? Back = null, string? Guid = null);

/// <summary>Sign-in with ClassLink: OpenID Connect's code flow in ClassLink's dialect, and who of the patrons somebody is.</summary>
public sealed class ClassLinkSignIn(
    RollcallDatabase database,
    Secrets secrets,
    RollcallOptions options,
    TimeProvider time,
    ILogger<ClassLinkSignIn> logger
) : IDisposable
{
    internal const string ClientSetting = "classlink.login";
    private const int MostBytes = 256 * 1024;
    private static readonly TimeSpan s_pending = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan s_skew = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan s_keysFresh = TimeSpan.FromMinutes(10);
    private static readonly JsonSerializerOptions s_json = new(JsonSerializerDefaults.Web);

    private readonly HttpClient _http = CreateHttp();
    private readonly SemaphoreSlim _keysGate = new(1);
    private volatile KeyList? _keys;

    /// <summary>The most that one answer of ClassLink's may take, with its body.</summary>
    internal TimeSpan AnswerTime { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>The client as <see cref="ClientSetting"/> holds it.</summary>
    internal static ClassLinkClient? ClientOf(string stored) => JsonSerializer.Deserialize<ClassLinkClient>(stored, s_json);

    /// <summary>The client; null when none is set up.</summary>
    public async Task<ClassLinkClient?> ClientAsync(CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        var row = await context.InstallationSettings.AsNoTracking().SingleOrDefaultAsync(s => s.Key == ClientSetting, cancellationToken);
        return row is null ? null : ClientOf(row.Value);
    }

    /// <summary>Some district lets people sign in with ClassLink.</summary>
    public async Task<bool> IsOfferedAsync(CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return (
                await context
                    .Integrations.AsNoTracking()
                    .Where(i => i.Kind == IntegrationKind.ClassLink && i.Enabled)
                    .ToListAsync(cancellationToken)
            ).Exists(i => IntegrationService.SettingsOf(i).Login.On) && await ClientAsync(cancellationToken) is not null;
    }

    /// <summary>Stores the client of the installation, and says so in the installation's audit. What is null stays as it is.</summary>
    /// <exception cref="RollcallException">Id or secret are missing, or an address is not possible.</exception>
    public async Task StoreClientAsync(
        string? clientId,
        string? secret,
        string? launchpad,
        string? api,
        bool? acceptTiles,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        var present = await ClientAsync(cancellationToken) ?? new ClassLinkClient();
        var moved = launchpad is not null && !string.Equals(launchpad.TrimEnd('/'), present.Launchpad, StringComparison.OrdinalIgnoreCase);
        if (moved && secret is null && present.Secret.Length > 0)
        {
            throw new RollcallException("The secret belongs to the present address. Give it again, together with the new one.");
        }

        var next = present with
        {
            ClientId = clientId?.Trim() ?? present.ClientId,
            Secret = secret is null ? present.Secret : secrets.Protect(0, secret),
            Launchpad = Address(launchpad) ?? present.Launchpad,
            Api = Address(api) ?? present.Api,
            AcceptTiles = acceptTiles ?? present.AcceptTiles,
        };
        if (next.ClientId.Length == 0 || next.Secret.Length == 0)
        {
            throw new RollcallException(
                "ClassLink does not know this installation yet. Give the application's id and secret from the Partner Portal."
            );
        }

        await using var context = database.CreateContextAsOwner();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        await InstallationSettings.PutAsync(context, ClientSetting, JsonSerializer.Serialize(next, s_json), cancellationToken);
        var said = InWords(present, next, newSecret: secret is not null);
        if (said.Length > 0)
        {
            context.AuditEntries.Add(
                new AuditEntry
                {
                    DistrictId = 0,
                    At = time.GetUtcNow(),
                    Actor = actor,
                    Action = "ClassLink application",
                    Details = said,
                }
            );
            await context.SaveChangesAsync(cancellationToken);
        }

        await transaction.CommitAsync(cancellationToken);

        string? Address(string? address) =>
            address is null ? null
            : options.Addresses().Refusal(address) is { } refusal ? throw new RollcallException(refusal)
            : address.Trim().TrimEnd('/');
    }

    /// <summary>What is different, without the secret; empty when nothing is.</summary>
    private static string InWords(ClassLinkClient before, ClassLinkClient after, bool newSecret)
    {
        (string Words, bool Said)[] parts =
        [
            ($"id {after.ClientId}", after.ClientId != before.ClientId),
            ("secret stored", newSecret),
            ($"LaunchPad at {after.Launchpad}", after.Launchpad != before.Launchpad),
            ($"API at {after.Api}", after.Api != before.Api),
            (after.AcceptTiles ? "tiles are taken as they come" : "tiles begin anew", after.AcceptTiles != before.AcceptTiles),
        ];
        return string.Join(", ", parts.Where(p => p.Said).Select(p => p.Words));
    }

    /// <summary>Lets a district's people sign in with ClassLink, or stops it; sessions that came that way end then.</summary>
    /// <exception cref="RollcallException">ClassLink is not connected there, or no client is set up.</exception>
    public async Task TurnAsync(int districtId, bool on, bool? byEmail, string actor, CancellationToken cancellationToken = default)
    {
        if (on && await ClientAsync(cancellationToken) is null)
        {
            throw new RollcallException(
                "ClassLink does not know this installation yet. Give the application's id and secret from the Partner Portal."
            );
        }

        await using var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken);
        var row = await work.Context.Integrations.SingleOrDefaultAsync(
            i => i.DistrictId == districtId && i.Kind == IntegrationKind.ClassLink,
            cancellationToken
        );
        var settings = IntegrationService.SettingsOf(row);
        if (row is null || (on && settings.TenantId is null))
        {
            throw new RollcallException("ClassLink is not connected yet. Connect it first.");
        }

        var login = settings.Login with { On = on, ByEmail = byEmail ?? settings.Login.ByEmail };
        row.Settings = JsonSerializer.Serialize(settings with { Login = login }, IntegrationService.Json);
        work.Context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = "log-in with ClassLink",
                Details = on ? $"on, {(login.ByEmail ? "by e-mail too" : "not by e-mail")}" : "off",
            }
        );
        if (!on)
        {
            await work
                .Context.SignInSessions.Where(s => s.DistrictId == districtId && s.Method == SignInMethod.ClassLink)
                .ExecuteDeleteAsync(cancellationToken);
        }

        await work.CommitAsync(cancellationToken);
    }

    /// <summary>Begins a sign-in.</summary>
    /// <param name="redirectUri">This server's callback address, as registered with ClassLink.</param>
    /// <param name="browser">What the browser holds in its cookie for this.</param>
    /// <param name="back">A path of this server to go to afterwards.</param>
    /// <param name="tile">It is a tile that is begun anew; it leads to the first page.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>Where the browser goes; null when no client is set up.</returns>
    public async Task<string?> BeginAsync(
        string redirectUri,
        string browser,
        string? back,
        bool tile = false,
        CancellationToken cancellationToken = default
    )
    {
        if (await ClientAsync(cancellationToken) is not { } client)
        {
            return null;
        }

        var now = time.GetUtcNow();
        var state = Tokens.New();
        var pending = new PendingSignIn
        {
            Id = Tokens.Hash(state),
            Browser = Tokens.Hash(browser),
            Nonce = Tokens.New(),
            Back = tile ? PendingSignIn.OfTile : back,
            ExpiresAt = now + s_pending,
        };
        await using var context = database.CreateContextAsOwner();
        await context.PendingSignIns.Where(p => p.ExpiresAt <= now).ExecuteDeleteAsync(cancellationToken);
        context.PendingSignIns.Add(pending);
        await context.SaveChangesAsync(cancellationToken);
        return $"{client.Launchpad}/oauth2/v2/auth?scope={Uri.EscapeDataString("openid profile email oneroster")}"
            + $"&client_id={Uri.EscapeDataString(client.ClientId)}&redirect_uri={Uri.EscapeDataString(redirectUri)}"
            + $"&response_type=code&state={state}&nonce={pending.Nonce}";
    }

    /// <summary>How many sign-ins that this browser began are under way, and how many of them are tiles that were begun anew.</summary>
    public async Task<(int All, int Tiles)> PendingAsync(string? browser, CancellationToken cancellationToken = default)
    {
        if (browser is null)
        {
            return default;
        }

        var id = Tokens.Hash(browser);
        var now = time.GetUtcNow();
        await using var context = database.CreateContextAsOwner();
        var backs = await context
            .PendingSignIns.Where(p => p.Browser == id && p.ExpiresAt > now)
            .Select(p => p.Back)
            .ToListAsync(cancellationToken);
        return (backs.Count, backs.Count(b => b == PendingSignIn.OfTile));
    }

    /// <summary>Takes what ClassLink sent the browser back with.</summary>
    /// <param name="redirectUri">This server's callback address.</param>
    /// <param name="browser">What the browser holds in its cookie; null when it holds nothing.</param>
    /// <param name="state">The state that came; null for a tile.</param>
    /// <param name="code">The code that came.</param>
    /// <param name="error">The error that came instead; null when none did.</param>
    /// <param name="signedIn">Who is signed in on this browser.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<SignInResult> TakeAsync(
        string redirectUri,
        string? browser,
        string? state,
        string? code,
        string? error,
        Who? signedIn,
        CancellationToken cancellationToken = default
    )
    {
        PendingSignIn? pending = null;
        if (state is not null)
        {
            pending = await TakePendingAsync(state, browser, cancellationToken);
            if (pending is null)
            {
                return Refuse(SignInRefusal.Stale, "the state is unknown, used, too old, or another browser's");
            }
        }

        if (error == "access_denied")
        {
            return Refuse(SignInRefusal.Consent, "the person did not agree that ClassLink says who they are");
        }

        if (error is not null)
        {
            return Refuse(SignInRefusal.Error, $"ClassLink sent the error '{ErrorWord(error)}'");
        }

        if (string.IsNullOrEmpty(code) || code.Length > 2000)
        {
            return Refuse(SignInRefusal.Error, "neither a code nor an error came");
        }

        if (await ClientAsync(cancellationToken) is not { } client)
        {
            return Refuse(SignInRefusal.Tenant, "no client is set up");
        }

        if (!await UsedCodes.TakeAsync(database, time, $"classlink:{code}", cancellationToken))
        {
            return Refuse(SignInRefusal.CodeUsed, "the code was used before");
        }

        Person person;
        try
        {
            person = await ProveAsync(client, redirectUri, code, pending?.Nonce, cancellationToken);
        }
        catch (NotProvedException e)
        {
            return Refuse(SignInRefusal.NotProved, e.Message);
        }
        catch (Exception e)
            when (e is HttpRequestException or IOException or RosterException
                || (e is OperationCanceledException && !cancellationToken.IsCancellationRequested)
            )
        {
            return Refuse(SignInRefusal.Unreachable, e.Message);
        }

        var result = await MatchAsync(person, cancellationToken);
        if (result.Refusal != SignInRefusal.None)
        {
            return result;
        }

        // A tile's code may be another person's, planted: it never takes the place of somebody without being asked for.
        if (
            pending is null
            && signedIn is not null
            && !(signedIn.Grants is [{ PatronId: { } own, DistrictId: var here }] && own == result.PatronId && here == result.DistrictId)
        )
        {
            return Refuse(SignInRefusal.SomebodyElse, "a tile was opened while somebody else is signed in");
        }

        logger.LogInformation("Patron {Patron} of district {District} signed in with ClassLink", result.PatronId, result.DistrictId);
        return result with { Back = pending?.Back };
    }

    /// <summary>Anybody can write anything into an address: of an error no more is logged than the letters that such words have.</summary>
    private static string ErrorWord(string error) =>
        Patrons.Text.Cut(string.Concat(error.Select(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.' ? c : '?')), 60);

    /// <summary>A state serves once, for the browser that it was made for. One that comes from elsewhere is used up too.</summary>
    private async Task<PendingSignIn?> TakePendingAsync(string state, string? browser, CancellationToken cancellationToken)
    {
        if (state.Length is 0 or > 200)
        {
            return null;
        }

        var id = Tokens.Hash(state);
        await using var context = database.CreateContextAsOwner();
        var pending = await context.PendingSignIns.AsNoTracking().SingleOrDefaultAsync(p => p.Id == id, cancellationToken);
        return
            pending is not null
            && await context.PendingSignIns.Where(p => p.Id == id).ExecuteDeleteAsync(cancellationToken) == 1
            && pending.ExpiresAt > time.GetUtcNow()
            && browser is not null
            && string.Equals(pending.Browser, Tokens.Hash(browser), StringComparison.Ordinal)
            ? pending
            : null;
    }

    /// <summary>Exchanges a code and asks ClassLink who it is for. Two independent proofs have to agree: the signed token and the answer. That the
    /// token's <c>sub</c> is the UserId of <c>my/info</c> is seen and promised nowhere; where it is not, <c>my/profileinfo</c> has to have it.</summary>
    private async Task<Person> ProveAsync(
        ClassLinkClient client,
        string redirectUri,
        string code,
        string? nonce,
        CancellationToken cancellationToken
    )
    {
        string accessToken;
        string? idToken;
        using (var request = new HttpRequestMessage(HttpMethod.Post, $"{client.Launchpad}/oauth2/v2/token"))
        {
            request.Content = new FormUrlEncodedContent(
                new Dictionary<string, string>
                {
                    ["client_id"] = client.ClientId,
                    ["client_secret"] = secrets.Unprotect(0, client.Secret),
                    ["code"] = code,
                    ["grant_type"] = "authorization_code",
                    ["redirect_uri"] = redirectUri,
                }
            );
            using var answer = await ReadAsync(request, "the token request", cancellationToken);
            accessToken = Text(answer.RootElement, "access_token") ?? throw new NotProvedException("the token answer has no access_token");
            idToken = Text(answer.RootElement, "id_token");
        }

        var subject = await CheckTokenAsync(client, idToken, nonce, cancellationToken);
        using var ask = new HttpRequestMessage(HttpMethod.Get, $"{client.Api}/v2/my/info");
        ask.Headers.Authorization = new AuthenticationHeaderValue("Bearer", accessToken);
        using var info = await ReadAsync(ask, "my/info", cancellationToken);
        var root = info.RootElement;
        var user = Text(root, "UserId") ?? throw new NotProvedException("my/info has no UserId to compare with the signed token");
        if (!string.Equals(user, subject, StringComparison.Ordinal))
        {
            using var again = new HttpRequestMessage(HttpMethod.Get, $"{client.Api}/v2/my/profileinfo");
            again.Headers.Authorization = new AuthenticationHeaderValue("Bearer", accessToken);
            using var profile = await ReadAsync(again, "my/profileinfo", cancellationToken);
            if (!string.Equals(Text(profile.RootElement, "sub"), subject, StringComparison.Ordinal))
            {
                throw new NotProvedException("the signed token and my/profileinfo speak of different people");
            }
        }

        return new Person(
            Text(root, "TenantId") ?? throw new NotProvedException("my/info has no TenantId"),
            Text(root, "SourcedId"),
            Text(root, "LoginId"),
            Text(root, "Email")
        );
    }

    /// <summary>Checks the signed token: signature, issuer, audience, time, nonce.</summary>
    /// <returns>Whom it is about.</returns>
    private async Task<string> CheckTokenAsync(ClassLinkClient client, string? idToken, string? nonce, CancellationToken cancellationToken)
    {
        if (idToken is null)
        {
            throw new NotProvedException("the token answer has no id_token: the scope openid is missing at ClassLink");
        }

        var handler = new JsonWebTokenHandler { MaximumTokenSizeInBytes = MostBytes };
        var now = time.GetUtcNow().UtcDateTime;
        TokenValidationResult? result = null;

        // Whose key is not named may be of any that ClassLink lists.
        var namesKey = TryRead(handler, idToken)?.Kid is { Length: > 0 };

        // A key that is not known, or does not fit, may be a new one: ClassLink is asked once more, unless somebody has asked meanwhile. Nobody
        // else can make us ask: the token came from ClassLink, for a code that serves once.
        IReadOnlyList<SecurityKey>? tried = null;
        for (var round = 0; round < 2; round++)
        {
            var keys = await KeysAsync(client, tried, cancellationToken);
            tried = keys;
            result = await handler.ValidateTokenAsync(
                idToken,
                new TokenValidationParameters
                {
                    ValidAlgorithms = [SecurityAlgorithms.RsaSha256],
                    RequireSignedTokens = true,
                    IssuerSigningKeys = keys,
                    ValidateIssuerSigningKey = true,
                    TryAllIssuerSigningKeys = !namesKey,
                    ValidIssuer = client.Launchpad,
                    ValidAudience = client.ClientId,
                    RequireAudience = true,
                    RequireExpirationTime = true,
                    // ClassLink sends no nbf: the start then reads as the beginning of time.
                    LifetimeValidator = (from, until, _, _) =>
                        until is { } end && end > now - s_skew && (from is not { } begin || begin <= now + s_skew),
                }
            );
            if (result.IsValid || result.Exception is not SecurityTokenInvalidSignatureException)
            {
                break;
            }
        }

        if (result is not { IsValid: true, SecurityToken: JsonWebToken token })
        {
            throw new NotProvedException($"the id_token is refused: {result?.Exception?.GetType().Name}");
        }

        if (!token.TryGetPayloadValue<long>("iat", out var issued) || issued > new DateTimeOffset(now + s_skew).ToUnixTimeSeconds())
        {
            throw new NotProvedException("the id_token has no iat, or one in the future");
        }

        var said = token.TryGetPayloadValue<string>("nonce", out var value) ? value : null;
        if (nonce is not null && !string.Equals(said, nonce, StringComparison.Ordinal))
        {
            throw new NotProvedException(
                said is null ? "a nonce was sent and the id_token has none" : "the id_token's nonce is not the one that was sent"
            );
        }

        return string.IsNullOrWhiteSpace(token.Subject) ? throw new NotProvedException("the id_token names nobody") : token.Subject;
    }

    private static JsonWebToken? TryRead(JsonWebTokenHandler handler, string idToken)
    {
        try
        {
            return handler.ReadJsonWebToken(idToken);
        }
        catch (Exception e) when (e is ArgumentException or SecurityTokenException or JsonException or InvalidOperationException)
        {
            // The validation says what is wrong with it.
            return null;
        }
    }

    /// <summary>The keys that ClassLink signs with.</summary>
    /// <param name="client">Where they are.</param>
    /// <param name="tried">Those that did not fit; null at first.</param>
    /// <param name="cancellationToken">Gives up.</param>
    private async Task<IReadOnlyList<SecurityKey>> KeysAsync(
        ClassLinkClient client,
        IReadOnlyList<SecurityKey>? tried,
        CancellationToken cancellationToken
    )
    {
        // Whoever has keys that fit waits for nobody who asks for new ones.
        if (Cached() is { } known)
        {
            return known;
        }

        using var patience = Patience(cancellationToken);
        await _keysGate.WaitAsync(patience.Token);
        try
        {
            if (Cached() is { } meanwhile)
            {
                return meanwhile;
            }

            using var request = new HttpRequestMessage(HttpMethod.Get, $"{client.Launchpad}/oauth2/v2/jwks");
            using var answer = await ReadAsync(request, "the keys", patience.Token);
            List<SecurityKey> keys;
            try
            {
                keys =
                [
                    .. JsonWebKeySet
                        .Create(answer.RootElement.GetRawText())
                        .Keys.Where(k => k is { Kty: JsonWebAlgorithmsKeyTypes.RSA, KeySize: >= 2048 } && k.Use is null or "" or "sig"),
                ];
            }
            catch (Exception e) when (e is ArgumentException or FormatException or JsonException or InvalidOperationException)
            {
                throw new NotProvedException($"the keys cannot be read: {e.GetType().Name}");
            }

            _keys = new KeyList(client.Launchpad, time.GetUtcNow(), keys);
            return keys;
        }
        finally
        {
            _keysGate.Release();
        }

        IReadOnlyList<SecurityKey>? Cached() =>
            _keys is { } have
            && !ReferenceEquals(have.Keys, tried)
            && have.From == client.Launchpad
            && time.GetUtcNow() - have.At < s_keysFresh
                ? have.Keys
                : null;
    }

    /// <summary>Which patron a person of ClassLink is.</summary>
    private async Task<SignInResult> MatchAsync(Person person, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContextAsOwner();
        var rows = (
            await context
                .Integrations.AsNoTracking()
                .Where(i => i.Kind == IntegrationKind.ClassLink && i.Enabled)
                .ToListAsync(cancellationToken)
        ).FindAll(i => IntegrationService.SettingsOf(i) is { Login.On: true } s && s.TenantId == person.Tenant);

        // One tenant belongs to one district; if ever two had it, neither gets anybody.
        if (rows is not [var row])
        {
            await NoteStrangerAsync(context, person.Tenant, cancellationToken);
            return Refuse(
                SignInRefusal.Tenant,
                $"tenant {Patrons.Text.Cut(person.Tenant, 20)} belongs to no district that lets people sign in"
            );
        }

        var district = row.DistrictId;
        var settings = IntegrationService.SettingsOf(row);
        var links = context.PatronLinks.AsNoTracking().Where(l => l.DistrictId == district);
        var patrons = context.Patrons.AsNoTracking().Where(p => p.DistrictId == district);
        List<long> found = [];
        var how = "SourcedId";
        if (Patrons.Text.Clean(person.SourcedId) is not null && person.SourcedId is { Length: <= 255 } sourcedId)
        {
            found = await patrons.Where(p => p.Guid == sourcedId).Select(p => p.Id).ToListAsync(cancellationToken);
            if (found.Count == 0)
            {
                found = await Patrons.PatronAliases.FindAsync(links, sourcedId, cancellationToken);
            }
        }

        // Without a proof that roster and tenant belong together, only an id of that very roster is one.
        var confirmed =
            settings.Mode is ConnectionMode.Proxy || settings.Login.ConfirmedTenant == settings.TenantId && settings.TenantId is not null;
        if (found.Count == 0 && confirmed && Patrons.Text.Clean(person.LoginId) is { } login)
        {
            // Whoever left the roster keeps the name they had there; the directory may have given it to somebody else since.
            how = "LoginId";
            var here = links.Where(l => !l.Absent);
            found = await here.Where(l => l.Username == login).Select(l => l.PatronId).ToListAsync(cancellationToken);
            if (found.Count == 0)
            {
                found = await ByLoginAsideFromCaseAsync(here, login, cancellationToken);
            }
        }

        if (found.Count == 0 && confirmed && settings.Login.ByEmail && Patrons.Text.EmailKey(person.Email) is { } email)
        {
            how = "email";
            found = await patrons.Where(p => p.EmailKey == email).Select(p => p.Id).Take(2).ToListAsync(cancellationToken);
        }

        if (found.Count != 1)
        {
            return Refuse(
                found.Count == 0 ? SignInRefusal.Unknown : SignInRefusal.Ambiguous,
                $"district {district}: {found.Count} patrons by {how}; SourcedId {(person.SourcedId is null ? "blank" : "given")}"
            );
        }

        var patron = await patrons.SingleAsync(p => p.Id == found[0], cancellationToken);
        var link = await links.SingleOrDefaultAsync(l => l.PatronId == patron.Id, cancellationToken);
        if (link is null || patron.Guid is null)
        {
            return Refuse(SignInRefusal.Unknown, $"district {district}: patron {patron.Id} is not linked to the roster");
        }

        if (how == "email" && patron.Group > SecurityGroup.Patron)
        {
            // Whoever edits records could put their own address on an administrator's.
            return Refuse(SignInRefusal.Unknown, $"district {district}: patron {patron.Id} is above Patron and was found by email alone");
        }

        if (how != "SourcedId" && patron.Group > SecurityGroup.Patron && Patrons.Text.Clean(person.SourcedId) is not null)
        {
            // An id that is not theirs says that this is somebody else, who was given the name of one who left.
            return Refuse(
                SignInRefusal.Unknown,
                $"district {district}: patron {patron.Id} is above Patron and was found by {how}, but has another SourcedId than the one given"
            );
        }

        if (how != "SourcedId" && link.Absent)
        {
            return Refuse(SignInRefusal.Unknown, $"district {district}: patron {patron.Id} left the roster and was found by {how} alone");
        }

        if (!Sessions.MaySignIn(patron.Status))
        {
            return Refuse(SignInRefusal.Status, $"district {district}: patron {patron.Id} is {PatronFields.StatusWord(patron.Status)}");
        }

        if (link.LoginDisabled)
        {
            return Refuse(SignInRefusal.Disabled, $"district {district}: the roster disabled the login of patron {patron.Id}");
        }

        if (how == "SourcedId" && settings.Login.ConfirmedTenant != settings.TenantId)
        {
            await ConfirmTenantAsync(district, person.Tenant, cancellationToken);
        }

        return new SignInResult(SignInRefusal.None, district, patron.Id, Guid: patron.Guid);
    }

    /// <summary>Directories do not tell names apart by case, and not everything between them and here keeps it.</summary>
    private static async Task<List<long>> ByLoginAsideFromCaseAsync(
        IQueryable<PatronLink> links,
        string login,
        CancellationToken cancellationToken
    )
    {
        // Databases lower the letters of ASCII alone: for others they say who comes into question.
        var lower = login.ToLowerInvariant();
        var alike = System.Text.Ascii.IsValid(login)
#pragma warning disable CA1862 // Databases know no StringComparison.
            ? links.Where(l => l.Username != null && l.Username.ToLower() == lower)
#pragma warning restore CA1862
            : links.Where(l => l.Username != null && l.Username.Length == login.Length);
        return
        [
            .. (await alike.Select(l => new { l.PatronId, l.Username }).ToListAsync(cancellationToken))
                .Where(l => string.Equals(l.Username, login, StringComparison.OrdinalIgnoreCase))
                .Select(l => l.PatronId),
        ];
    }

    /// <summary>A linked person of this tenant has signed in: roster and tenant belong together.</summary>
    private async Task ConfirmTenantAsync(int district, string tenant, CancellationToken cancellationToken)
    {
        await using var work = await DistrictTransaction.BeginAsOwnerAsync(database, district, cancellationToken);
        var row = await work.Context.Integrations.SingleAsync(
            i => i.DistrictId == district && i.Kind == IntegrationKind.ClassLink,
            cancellationToken
        );
        var settings = IntegrationService.SettingsOf(row);
        if (settings.TenantId != tenant || settings.Login.ConfirmedTenant == tenant)
        {
            // Connected elsewhere meanwhile, or somebody else was first.
            return;
        }

        row.Settings = JsonSerializer.Serialize(
            settings with
            {
                Login = settings.Login with { ConfirmedTenant = tenant },
            },
            IntegrationService.Json
        );
        work.Context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = district,
                At = time.GetUtcNow(),
                Actor = "ClassLink",
                Action = "tenant confirmed",
                Details = $"{tenant}, by the first sign-in of a linked person",
            }
        );
        await work.CommitAsync(cancellationToken);
    }

    /// <summary>Writes into the district's audit that a patron signed in.</summary>
    public async Task NoteSignInAsync(int districtId, long patronId, string? address, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        var patron = await context
            .Patrons.AsNoTracking()
            .SingleOrDefaultAsync(p => p.DistrictId == districtId && p.Id == patronId, cancellationToken);
        if (patron is null)
        {
            return;
        }

        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = patron.DisplayName,
                Action = Retention.RetentionService.SignInAction,
                Details = $"{Line(patronId)}with ClassLink from {address ?? "an unknown address"}",
            }
        );
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>What the installation's audit calls a sign-in from a tenant that no district here lets in.</summary>
    private const string StrangerAction = "sign-in refused";

    /// <summary>More of them say no more, and whoever can begin them fills no disk.</summary>
    private const int MostStrangers = 100;

    /// <summary>Notes in the installation's audit, which its operator alone reads, that somebody of an unknown tenant came.</summary>
    private async Task NoteStrangerAsync(RollcallContext context, string tenant, CancellationToken cancellationToken)
    {
        if (await StrangersAsync(time.GetUtcNow().AddDays(-1), cancellationToken) >= MostStrangers)
        {
            return;
        }

        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = 0,
                At = time.GetUtcNow(),
                Actor = "ClassLink",
                Action = StrangerAction,
                Details = $"tenant {Patrons.Text.Cut(tenant, 20)} belongs to no district that lets people sign in",
            }
        );
        await context.SaveChangesAsync(cancellationToken);
    }

    /// <summary>How many sign-ins came since an instant from tenants that no district here lets in. For the operator.</summary>
    public async Task<int> StrangersAsync(DateTimeOffset since, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await context
            .AuditEntries.Where(a => a.DistrictId == 0 && a.Action == StrangerAction && a.At >= since)
            .CountAsync(cancellationToken);
    }

    /// <summary>How the audit's line about a sign-in of a patron begins. By it, and not by the name beside it, it is theirs.</summary>
    internal static string Line(long patronId) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"patron {patronId} ");

    private SignInResult Refuse(SignInRefusal refusal, string why)
    {
        logger.LogWarning("Sign-in with ClassLink refused ({Refusal}): {Why}", refusal, why);
        return new SignInResult(refusal);
    }

    /// <summary>Until when one answer of ClassLink's is waited for, with its body.</summary>
    private CancellationTokenSource Patience(CancellationToken cancellationToken)
    {
        var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        patience.CancelAfter(AnswerTime);
        return patience;
    }

    private async Task<JsonDocument> ReadAsync(HttpRequestMessage request, string what, CancellationToken cancellationToken)
    {
        request.Headers.Accept.ParseAdd("application/json");

        // The client's own time-out ends with the headers; a body may drip for ever.
        using var patience = Patience(cancellationToken);
        using var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, patience.Token);
        if (response.StatusCode is HttpStatusCode.BadRequest or HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden)
        {
            throw new NotProvedException($"{what}: ClassLink answered {(int)response.StatusCode}");
        }

        if (!response.IsSuccessStatusCode)
        {
            throw new HttpRequestException($"{what}: ClassLink answered {(int)response.StatusCode}");
        }

        await response.Content.LoadIntoBufferAsync(MostBytes, patience.Token);
        try
        {
            var document = JsonDocument.Parse(await response.Content.ReadAsByteArrayAsync(patience.Token));
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? document
                : throw new NotProvedException($"{what}: the answer is no object");
        }
        catch (JsonException)
        {
            throw new NotProvedException($"{what}: the answer is no JSON");
        }
    }

    /// <summary>A value that is sent as a number or as a text; null when it is blank or neither.</summary>
    /// <exception cref="NotProvedException">It is no text: half of a character, or one that no database takes.</exception>
    private static string? Text(JsonElement root, string name)
    {
        string? text;
        try
        {
            text =
                !root.TryGetProperty(name, out var value) ? null
                : value.ValueKind == JsonValueKind.String ? value.GetString()
                : value.ValueKind == JsonValueKind.Number ? value.GetRawText()
                : null;
        }
        catch (InvalidOperationException)
        {
            throw new NotProvedException($"{name} cannot be read as a text");
        }

        return text?.Contains('\0') == true ? throw new NotProvedException($"{name} cannot be read as a text")
            : string.IsNullOrWhiteSpace(text) ? null
            : text;
    }

    private static HttpClient CreateHttp()
    {
        var http = new HttpClient(
            new SocketsHttpHandler
            {
                AllowAutoRedirect = false,
                UseCookies = false,
                PooledConnectionLifetime = TimeSpan.FromMinutes(5),
            }
        )
        {
            Timeout = Timeout.InfiniteTimeSpan,
        };
        http.DefaultRequestHeaders.UserAgent.ParseAdd("Rollcall");
        return http;
    }

    public void Dispose()
    {
        _http.Dispose();
        _keysGate.Dispose();
    }

    /// <summary>Replaced as a whole: it is looked at without the gate.</summary>
    private sealed record KeyList(string From, DateTimeOffset At, IReadOnlyList<SecurityKey> Keys);

    private sealed record Person(string Tenant, string? SourcedId, string? LoginId, string? Email);

    private sealed class NotProvedException(string message) : Exception(message);
}
