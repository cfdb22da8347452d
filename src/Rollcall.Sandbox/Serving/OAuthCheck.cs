using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Rollcall.Sandbox.Serving;

/// <summary>Verifies two-legged OAuth 1.0a by RFC 5849 and with no code of the client.</summary>
internal sealed class OAuthCheck(string consumerKey, string consumerSecret, TimeProvider clock)
{
    private static readonly TimeSpan Skew = TimeSpan.FromMinutes(45);
    private readonly Dictionary<string, long> _nonces = new(StringComparer.Ordinal);
    private readonly Lock _gate = new();

    /// <summary>Null if the request is signed properly, else what is wrong.</summary>
    /// <param name="header">The Authorization header.</param>
    /// <param name="address">Scheme, host and path as sent, without the query; default ports left out.</param>
    /// <param name="query">The query as sent, without the question mark.</param>
    /// <param name="behind">How far the server's clock is behind.</param>
    public string? Refuse(string header, string address, string query, TimeSpan behind = default)
    {
        var oauth = ParseHeader(header);
        string Get(string name) => oauth.Find(p => p.Name == name).Value ?? "";
        if (oauth.Select(p => p.Name).Distinct(StringComparer.Ordinal).Count() != oauth.Count)
        {
            return "a parameter is given twice";
        }

        if (Get("oauth_consumer_key") != consumerKey)
        {
            return "unknown consumer key";
        }

        var method = Get("oauth_signature_method");
        if (method is not ("HMAC-SHA256" or "HMAC-SHA1"))
        {
            return "unknown signature method";
        }

        if (oauth.Exists(p => p.Name == "oauth_version") && Get("oauth_version") != "1.0")
        {
            return "unknown version";
        }

        var now = clock.GetUtcNow() - behind;
        if (
            !long.TryParse(Get("oauth_timestamp"), NumberStyles.None, CultureInfo.InvariantCulture, out var seconds)
            || (now - DateTimeOffset.FromUnixTimeSeconds(Math.Min(seconds, 253_402_300_799))).Duration() > Skew
        )
        {
            return "timestamp too far from the server's clock";
        }

        var signature = Sign(address, [.. oauth.Where(p => p.Name is not ("oauth_signature" or "realm")), .. ParseQuery(query)], method);
        if (!CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(signature), Encoding.UTF8.GetBytes(Get("oauth_signature"))))
        {
            return "signature does not match";
        }

        var nonce = Get("oauth_nonce");
        if (nonce.Length == 0)
        {
            return "no nonce";
        }

        lock (_gate)
        {
            if (_nonces.Count > 10_000)
            {
                var old = now.ToUnixTimeSeconds() - (long)(2 * Skew.TotalSeconds);
                foreach (var stale in _nonces.Where(n => n.Value < old).Select(n => n.Key).ToArray())
                {
                    _nonces.Remove(stale);
                }
            }

            return _nonces.TryAdd(nonce, seconds) ? null : "nonce used before";
        }
    }

    private string Sign(string address, List<(string Name, string Value)> parameters, string method)
    {
        var pairs = parameters
            .Select(p => (Name: Encode(p.Name), Value: Encode(p.Value)))
            .OrderBy(p => p.Name, StringComparer.Ordinal)
            .ThenBy(p => p.Value, StringComparer.Ordinal)
            .Select(p => $"{p.Name}={p.Value}");
        var text = Encoding.ASCII.GetBytes($"GET&{Encode(address)}&{Encode(string.Join('&', pairs))}");
        var key = Encoding.ASCII.GetBytes(Encode(consumerSecret) + "&");
#pragma warning disable CA5350 // the protocol names SHA-1, and some districts still use it
        return Convert.ToBase64String(method == "HMAC-SHA1" ? HMACSHA1.HashData(key, text) : HMACSHA256.HashData(key, text));
#pragma warning restore CA5350
    }

    private static List<(string Name, string Value)> ParseHeader(string header)
    {
        var parameters = new List<(string, string)>();
        foreach (var item in header["OAuth ".Length..].Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = item.IndexOf('=', StringComparison.Ordinal);
            if (equals > 0)
            {
                parameters.Add((Decode(item[..equals], plus: false), Decode(item[(equals + 1)..].Trim('"'), plus: false)));
            }
        }

        return parameters;
    }

    internal static List<(string Name, string Value)> ParseQuery(string query)
    {
        var parameters = new List<(string, string)>();
        foreach (var item in query.Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = item.IndexOf('=', StringComparison.Ordinal);
            parameters.Add(
                equals < 0 ? (Decode(item, plus: true), "") : (Decode(item[..equals], plus: true), Decode(item[(equals + 1)..], plus: true))
            );
        }

        return parameters;
    }

    internal static string Decode(string text, bool plus)
    {
        var bytes = new List<byte>(text.Length);
        var raw = Encoding.UTF8.GetBytes(text);
        for (var i = 0; i < raw.Length; i++)
        {
            if (raw[i] == '%' && i + 2 < raw.Length && Hex(raw[i + 1]) is >= 0 and var high && Hex(raw[i + 2]) is >= 0 and var low)
            {
                bytes.Add((byte)((high << 4) | low));
                i += 2;
            }
            else
            {
                bytes.Add(plus && raw[i] == '+' ? (byte)' ' : raw[i]);
            }
        }

        return Encoding.UTF8.GetString([.. bytes]);
    }

    private static int Hex(byte digit) => char.IsAsciiHexDigit((char)digit) ? Convert.ToInt32(((char)digit).ToString(), 16) : -1;

    // RFC 3986: only letters, digits and - . _ ~ stand for themselves.
    private static string Encode(string text)
    {
        var encoded = new StringBuilder(text.Length * 2);
        foreach (var b in Encoding.UTF8.GetBytes(text))
        {
            if (b < 128 && (char.IsAsciiLetterOrDigit((char)b) || b is (byte)'-' or (byte)'.' or (byte)'_' or (byte)'~'))
            {
                encoded.Append((char)b);
            }
            else
            {
                encoded.Append('%').Append(b.ToString("X2", CultureInfo.InvariantCulture));
            }
        }

        return encoded.ToString();
    }
}
