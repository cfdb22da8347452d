using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Rollcall.OneRoster.Auth;

/// <summary>Two-legged OAuth 1.0a for GET requests (RFC 5849 §3).</summary>
internal sealed class OAuth1Signer(string key, string secret, OAuthSignature signature, bool sendVersion, TimeProvider time)
    : IRequestSigner
{
    private readonly byte[] hmacKey = Encoding.ASCII.GetBytes(Encode(secret) + "&");

    public string Authorization(string url) =>
        Authorization(
            url,
            time.GetUtcNow().ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture),
            RandomNumberGenerator.GetHexString(32, lowercase: true)
        );

    public ValueTask<bool> RefreshAsync(CancellationToken cancellationToken) => ValueTask.FromResult(false);

    public bool DependsOnClock => true;

    public IEnumerable<string> Secrets => [secret, key];

    internal string Authorization(string url, string timestamp, string nonce)
    {
        List<KeyValuePair<string, string>> oauth =
        [
            new("oauth_consumer_key", key),
            new("oauth_nonce", nonce),
            new("oauth_signature_method", signature == OAuthSignature.HmacSha1 ? "HMAC-SHA1" : "HMAC-SHA256"),
            new("oauth_timestamp", timestamp),
        ];
        if (sendVersion)
        {
            oauth.Add(new("oauth_version", "1.0"));
        }

        var header = new StringBuilder("OAuth ");
        foreach (var (name, value) in oauth)
        {
            header.Append(name).Append("=\"").Append(Encode(value)).Append("\", ");
        }

        return header.Append("oauth_signature=\"").Append(Encode(Sign(BaseString(url, oauth)))).Append('"').ToString();
    }

    /// <summary>The signature base string over every query parameter of the URL and the given protocol parameters (RFC 5849 §3.4.1).</summary>
    internal static string BaseString(string url, IEnumerable<KeyValuePair<string, string>> protocol)
    {
        var question = url.IndexOf('?', StringComparison.Ordinal);
        var address = question < 0 ? url : url[..question];
        var parameters = protocol.Select(p => new KeyValuePair<string, string>(Encode(p.Key), Encode(p.Value))).ToList();
        if (question >= 0)
        {
            foreach (var part in url[(question + 1)..].Split('&', StringSplitOptions.RemoveEmptyEntries))
            {
                var equals = part.IndexOf('=', StringComparison.Ordinal);
                var name = equals < 0 ? part : part[..equals];
                var value = equals < 0 ? "" : part[(equals + 1)..];
                parameters.Add(new(Encode(Decode(name)), Encode(Decode(value))));
            }
        }

        // By encoded bytes, and by value where names are equal; all of it is ASCII by now, so ordinal is byte order.
        parameters.Sort(
            static (a, b) =>
            {
                var byName = string.CompareOrdinal(a.Key, b.Key);
                return byName != 0 ? byName : string.CompareOrdinal(a.Value, b.Value);
            }
        );
        var joined = string.Join('&', parameters.Select(p => p.Key + "=" + p.Value));
        return "GET&" + Encode(address) + "&" + Encode(joined);
    }

    private string Sign(string baseString)
    {
        var data = Encoding.ASCII.GetBytes(baseString);
#pragma warning disable CA5350 // servers that know nothing else exist; the setting is off by default
        return Convert.ToBase64String(
            signature == OAuthSignature.HmacSha1 ? HMACSHA1.HashData(hmacKey, data) : HMACSHA256.HashData(hmacKey, data)
        );
#pragma warning restore CA5350
    }

    /// <summary>Percent-encodes everything but RFC 3986's unreserved characters.</summary>
    internal static string Encode(string text) => Uri.EscapeDataString(text);

    // In a query a plus stands for a blank (RFC 5849 §3.4.1.3.1); this client writes %20, pasted addresses may not.
    private static string Decode(string text) => Uri.UnescapeDataString(text.Replace('+', ' '));
}
