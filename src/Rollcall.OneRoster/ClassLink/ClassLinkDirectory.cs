using System.Globalization;
using System.Text.Json;
using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.ClassLink;

/// <summary>The list of districts that share their roster with a ClassLink partner. Failures are
/// <see cref="RosterException"/>s; what is merely not set up is a value (<see cref="TenantCheck"/>).</summary>
public sealed class ClassLinkDirectory : IDisposable
{
    /// <summary>ClassLink's proxy today.</summary>
    public const string DefaultHost = "https://oneroster-proxy.apis.classlink.com";

    private const int PageSize = 1000;

    // Some thousand districts exist; a list that goes on beyond this is no list of districts.
    private const int MostApplications = 200_000;

    private readonly BaseAddress address;
    private readonly Transport transport;

    /// <summary>Prepares the directory; nothing is sent yet.</summary>
    /// <param name="partnerKey">The API key from the Partner Portal.</param>
    /// <param name="host">The proxy's address; <see langword="null"/> for <see cref="DefaultHost"/>.</param>
    /// <param name="options">Behaviour on the wire; page size and service path do not matter here.</param>
    /// <exception cref="RosterException">The key or the address is unusable or refused.</exception>
    public ClassLinkDirectory(string partnerKey, string? host = null, RosterClientOptions? options = null)
    {
        options ??= RosterClientOptions.Default;
        options.Check();
        var guard = new AddressGuard(options);
        address = new BaseAddress(string.IsNullOrWhiteSpace(host) ? DefaultHost : host, guard);
        transport = new Transport(address, new BearerCredentials(partnerKey), guard, options);
    }

    /// <summary>The proxy's address, for connections to the districts listed here.</summary>
    internal string BaseUrl => address.With("");

    /// <summary>Every record of the partner, read to the empty page since no count is sent.</summary>
    public async Task<IReadOnlyList<ClassLinkApplication>> ApplicationsAsync(CancellationToken cancellationToken = default)
    {
        List<ClassLinkApplication> all = [];
        string? previous = null;
        for (var offset = 0; ; )
        {
            var at = offset;
            var (page, rows, print) = await transport.GetAsync(
                () => address.With(string.Create(CultureInfo.InvariantCulture, $"/applications?limit={PageSize}&offset={at}")),
                lighten: null,
                static async (_, body, token) => Applications(await ReadAsync(body, token)),
                cancellationToken
            );

            // A server that knows no offset sends its whole list every time; having it once is enough.
            if (rows == 0 || string.Equals(print, previous, StringComparison.Ordinal))
            {
                return all;
            }

            previous = print;
            all.AddRange(page);
            offset += rows;
            if (offset > MostApplications)
            {
                throw new RosterException(RosterFault.Incomplete, $"{address.Host} lists applications without end. Tell ClassLink.");
            }
        }
    }

    /// <summary>Looks a district up. The list is read anew each time.</summary>
    /// <param name="tenantId">The Tenant ID as typed.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    public async Task<TenantCheck> CheckAsync(string? tenantId, CancellationToken cancellationToken = default) =>
        TenantId.TryParse(tenantId, out var id)
            ? TenantCheck.Of(id, await ApplicationsAsync(cancellationToken))
            : TenantCheck.Of(tenantId, []);

    /// <summary>Reads key and secret for direct access to a district's server.</summary>
    /// <param name="oneRosterApplicationId">The id as listed, already percent-encoded; inserted verbatim.</param>
    /// <param name="cancellationToken">Stops the request.</param>
    /// <exception cref="RosterException">Also with <see cref="RosterFault.AccessDisabled"/> when ClassLink leaves the secret, the key or the address blank.</exception>
    public async Task<ClassLinkServer> ServerCredentialsAsync(string oneRosterApplicationId, CancellationToken cancellationToken = default)
    {
        if (string.IsNullOrWhiteSpace(oneRosterApplicationId) || oneRosterApplicationId.AsSpan().IndexOfAny("/?#\\") >= 0)
        {
            throw new ArgumentException("Not an application id as ClassLink lists it.", nameof(oneRosterApplicationId));
        }

        var server = await transport.GetAsync(
            () => address.With($"/applications/{oneRosterApplicationId}/server"),
            lighten: null,
            static async (_, body, token) =>
            {
                using var json = await ReadAsync(body, token);
                var root = json.RootElement;
                var from =
                    root.ValueKind == JsonValueKind.Object
                    && root.TryGetProperty("server", out var inner)
                    && inner.ValueKind == JsonValueKind.Object
                        ? inner
                        : throw new NotAPageException("answered without the server's credentials");
                return new ClassLinkServer
                {
                    EndpointUrl = Text(from, "endpoint_url")?.Trim() ?? "",
                    Key = Text(from, "client_id")?.Trim() ?? "",
                    Secret = Text(from, "client_secret")?.Trim() ?? "",
                };
            },
            cancellationToken
        );
        return server.EndpointUrl.Length > 0 && server.Key.Length > 0 && server.Secret.Length > 0
            ? server
            : throw new RosterException(
                RosterFault.AccessDisabled,
                "ClassLink does not hand out this district's endpoint, key and secret. Copy them from Roster Server: Apps, the application's API settings."
            );
    }

    /// <inheritdoc/>
    public void Dispose() => transport.Dispose();

    private static async ValueTask<JsonDocument> ReadAsync(Stream body, CancellationToken cancellationToken)
    {
        var json = await RestRosterSource.ReadAllAsync(body, cancellationToken);
        var text = json.AsMemory(json.AsSpan().StartsWith("\uFEFF"u8) ? 3 : 0);
        try
        {
            return JsonDocument.Parse(text, new JsonDocumentOptions { AllowTrailingCommas = true });
        }
        catch (JsonException)
        {
            throw new NotAPageException("answered with something that is not a list of applications");
        }
    }

    private static (List<ClassLinkApplication> Page, int Rows, string Print) Applications(JsonDocument json)
    {
        using (json)
        {
            var root = json.RootElement;
            var list = root.ValueKind == JsonValueKind.Object && root.TryGetProperty("applications", out var inner) ? inner : root;
            List<JsonElement> entries = list.ValueKind switch
            {
                JsonValueKind.Array => [.. list.EnumerateArray()],
                JsonValueKind.Object when list.TryGetProperty("tenant_id", out _) => [list],
                _ => throw new NotAPageException("answered without the list of applications"),
            };
            var page = entries.Where(e => e.ValueKind == JsonValueKind.Object).Select(Application).ToList();
            return (page, entries.Count, list.GetRawText());
        }
    }

    private static ClassLinkApplication Application(JsonElement entry) =>
        new()
        {
            TenantId = Text(entry, "tenant_id")?.Trim(),
            TenantName = Text(entry, "tenant_name"),
            Name = Text(entry, "name"),
            OneRosterApplicationId = Text(entry, "oneroster_application_id")?.Trim(),
            Bearer = Text(entry, "bearer")?.Trim(),
            Enabled = Text(entry, "enabled") is { } enabled
                ? enabled.Trim().Equals("true", StringComparison.OrdinalIgnoreCase) || enabled.Trim() == "1"
                : null,
            TenantStatus = Text(entry, "tenant_status"),
        };

    private static string? Text(JsonElement entry, string name)
    {
        if (!entry.TryGetProperty(name, out var value))
        {
            return null;
        }

        switch (value.ValueKind)
        {
            case JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False:
                return value.GetRawText();
            case JsonValueKind.String:
                try
                {
                    return value.GetString();
                }
                catch (InvalidOperationException)
                {
                    // Half a surrogate pair; nothing that is used here can hold one.
                    return null;
                }
            default:
                return null;
        }
    }
}
