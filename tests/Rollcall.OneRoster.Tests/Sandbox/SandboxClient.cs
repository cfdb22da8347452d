using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Rollcall.Sandbox;

namespace Rollcall.OneRoster.Tests.Sandbox;

/// <summary>A few lines that speak to the sandbox without the product's client.</summary>
internal static class SandboxClient
{
    public static readonly HttpClient Http = new(new SocketsHttpHandler { AllowAutoRedirect = false });

    public static Uri Address(string text) => new(text, new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true });

    public static async Task<HttpResponseMessage> GetAsync(string url, string? bearer = null, string? oauth = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, Address(url));
        if (bearer is not null)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", bearer);
        }
        else if (oauth is not null)
        {
            request.Headers.TryAddWithoutValidation("Authorization", oauth);
        }

        return await Http.SendAsync(request);
    }

    public static Task<HttpResponseMessage> RosterAsync(this SandboxServer server, string pathAndQuery) =>
        GetAsync(server.ProxyPrefix + pathAndQuery, server.Bearer);

    public static async Task<JsonElement> JsonAsync(this SandboxServer server, string pathAndQuery)
    {
        using var response = await server.RosterAsync(pathAndQuery);
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{(int)response.StatusCode} {text}");
        return JsonElement.Parse(text);
    }

    /// <summary>Every row of a collection, page by page.</summary>
    public static async Task<List<JsonElement>> AllAsync(this SandboxServer server, string collection, int limit = 1000, string more = "")
    {
        var all = new List<JsonElement>();
        while (true)
        {
            var body = await server.JsonAsync($"{collection}?limit={limit}&offset={all.Count}&sort=sourcedId&orderBy=asc{more}");
            var rows = body.EnumerateObject().Single().Value;
            if (rows.GetArrayLength() == 0)
            {
                return all;
            }

            all.AddRange(rows.EnumerateArray());
        }
    }

    public static string Text(this JsonElement json, string name) => json.GetProperty(name).GetString()!;

    public static string Header(this HttpResponseMessage response, string name) =>
        response.Headers.TryGetValues(name, out var values) ? values.Single() : "";

    /// <summary>The Authorization header, by RFC 5849 read anew.</summary>
    public static string Sign(
        string address,
        (string Name, string Value)[] query,
        string key,
        string secret,
        long timestamp,
        string nonce,
        bool sha1 = false,
        bool version = false
    )
    {
        List<(string Name, string Value)> oauth =
        [
            ("oauth_consumer_key", key),
            ("oauth_nonce", nonce),
            ("oauth_signature_method", sha1 ? "HMAC-SHA1" : "HMAC-SHA256"),
            ("oauth_timestamp", $"{timestamp}"),
        ];
        if (version)
        {
            oauth.Add(("oauth_version", "1.0"));
        }

        var pairs = oauth
            .Concat(query)
            .Select(p => $"{Uri.EscapeDataString(p.Name)}={Uri.EscapeDataString(p.Value)}")
            .Order(StringComparer.Ordinal);
        var text = $"GET&{Uri.EscapeDataString(address)}&{Uri.EscapeDataString(string.Join('&', pairs))}";
        var bytes = Encoding.UTF8.GetBytes(text);
        var secretBytes = Encoding.UTF8.GetBytes($"{Uri.EscapeDataString(secret)}&");
#pragma warning disable CA5350 // the protocol's choice
        var signature = Convert.ToBase64String(sha1 ? HMACSHA1.HashData(secretBytes, bytes) : HMACSHA256.HashData(secretBytes, bytes));
#pragma warning restore CA5350
        oauth.Add(("oauth_signature", signature));
        return "OAuth " + string.Join(',', oauth.Select(p => $"{p.Name}=\"{Uri.EscapeDataString(p.Value)}\""));
    }
}

/// <summary>One server for the tests that change nothing.</summary>
public sealed class SharedSandbox : IAsyncLifetime
{
    /// <summary>1,000 students.</summary>
    public SandboxServer Server { get; private set; } = null!;

    /// <inheritdoc/>
    public async ValueTask InitializeAsync() =>
        Server = await SandboxServer.StartAsync(
            new SandboxOptions
            {
                Students = 1000,
                PrimaryOrgMetadata = true,
                Day = 3,
            }
        );

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => Server.DisposeAsync();
}
