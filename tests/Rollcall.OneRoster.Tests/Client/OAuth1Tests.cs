using System.Security.Cryptography;
using System.Text;
using CsCheck;
using Rollcall.OneRoster.Auth;
using Rollcall.OneRoster.Rest;

namespace Rollcall.OneRoster.Tests.Client;

public class OAuth1Tests
{
    private const string Users = "https://example.rosterserver.com/ims/oneroster/v1p1/users?limit=1000&offset=0&sort=sourcedId&orderBy=asc";

    [Theory]
    [InlineData(Users, OAuthSignature.HmacSha256, false, "e/hqsCM8GpBlxv5Mp1N42pAzU+oiY9wlBcBM2HYZScE=")]
    [InlineData(
        Users + "&filter=dateLastModified%3E%272026-01-15T00%3A00%3A00.000Z%27",
        OAuthSignature.HmacSha256,
        false,
        "cWefk8jjS6wP2amelqYOTEZdgP4HBo9uuBH9plK/4Ck="
    )]
    [InlineData(Users, OAuthSignature.HmacSha1, true, "yBcdZ8HtbtmoeI3v8T2TvXIpYB8=")]
    public void Known_requests_get_their_known_signatures(string url, OAuthSignature method, bool version, string signature)
    {
        var header = new OAuth1Signer("key123", "secret456", method, version, TimeProvider.System).Authorization(
            url,
            "1700000000",
            "abcdefghij"
        );

        Assert.Equal(signature, Fields(header)["oauth_signature"]);
        Assert.Equal(version, Fields(header).ContainsKey("oauth_version"));
    }

    [Fact]
    public void Every_call_uses_a_new_nonce_and_the_clock()
    {
        var time = new TestTime();
        var signer = new OAuth1Signer("k", "s", OAuthSignature.HmacSha256, sendVersion: false, time);
        var one = Fields(signer.Authorization(Users));
        time.Set(time.GetUtcNow().AddSeconds(5));
        var two = Fields(signer.Authorization(Users));

        Assert.NotEqual(one["oauth_nonce"], two["oauth_nonce"]);
        Assert.Equal(5, long.Parse(two["oauth_timestamp"]) - long.Parse(one["oauth_timestamp"]));
    }

    [Fact]
    public void Signatures_agree_with_the_plain_reading_of_rfc_5849()
    {
        var name = Gen.OneOf(Gen.Const("a"), Gen.Const("filter"), Gen.String[Gen.Char["aZ09-._~!*'()%+&=/ éß漢"], 1, 6]);
        var value = Gen.String[Gen.Char["abZ09-._~!*'()%+&=/?:@,;<> éß漢"], 0, 12];
        Gen.Select(
                Gen.Select(name, value).List[0, 6],
                Gen.String[Gen.Char["aZ0!*&%+/="], 1, 10],
                Gen.String[Gen.Char["aZ0!*&%+/="], 1, 10],
                Gen.Bool
            )
            .Sample(
                (query, key, secret, sha1) =>
                {
                    var url =
                        "https://host.example:8443/MoYP%2FlQ%3D/ims/users"
                        + (
                            query.Count == 0
                                ? ""
                                : "?"
                                    + string.Join(
                                        '&',
                                        query.Select(p => Uri.EscapeDataString(p.Item1) + "=" + Uri.EscapeDataString(p.Item2))
                                    )
                        );
                    Assert.Equal(url, BaseAddress.ToUri(url).AbsoluteUri);
                    var method = sha1 ? OAuthSignature.HmacSha1 : OAuthSignature.HmacSha256;
                    var sent = Fields(
                        new OAuth1Signer(key, secret, method, true, TimeProvider.System).Authorization(url, "1700000000", "n0nce")
                    );
                    return sent["oauth_signature"] == Plain(query, key, secret, sha1);
                },
                iter: 2000
            );
    }

    /// <summary>RFC 5849 §3.4 written down a second time, byte by byte, from the decoded parameters.</summary>
    private static string Plain(IEnumerable<(string, string)> query, string key, string secret, bool sha1)
    {
        List<(string, string)> all =
        [
            .. query,
            ("oauth_consumer_key", key),
            ("oauth_nonce", "n0nce"),
            ("oauth_signature_method", sha1 ? "HMAC-SHA1" : "HMAC-SHA256"),
            ("oauth_timestamp", "1700000000"),
            ("oauth_version", "1.0"),
        ];
        var joined = string.Join(
            "&",
            all.Select(p => (Name: Percent(p.Item1), Value: Percent(p.Item2)))
                .OrderBy(p => p.Name, StringComparer.Ordinal)
                .ThenBy(p => p.Value, StringComparer.Ordinal)
                .Select(p => p.Name + "=" + p.Value)
        );
        var text = Encoding.UTF8.GetBytes("GET&" + Percent("https://host.example:8443/MoYP%2FlQ%3D/ims/users") + "&" + Percent(joined));
        var secretBytes = Encoding.UTF8.GetBytes(Percent(secret) + "&");
#pragma warning disable CA5350
        return Convert.ToBase64String(sha1 ? HMACSHA1.HashData(secretBytes, text) : HMACSHA256.HashData(secretBytes, text));
#pragma warning restore CA5350
    }

    private static string Percent(string text)
    {
        var result = new StringBuilder();
        foreach (var b in Encoding.UTF8.GetBytes(text))
        {
            if (char.IsAsciiLetterOrDigit((char)b) || b is (byte)'-' or (byte)'.' or (byte)'_' or (byte)'~')
            {
                result.Append((char)b);
            }
            else
            {
                result.Append('%').Append(b.ToString("X2"));
            }
        }

        return result.ToString();
    }

    internal static Dictionary<string, string> Fields(string header)
    {
        Assert.StartsWith("OAuth ", header);
        return header[6..].Split(", ").Select(f => f.Split('=', 2)).ToDictionary(f => f[0], f => Uri.UnescapeDataString(f[1].Trim('"')));
    }
}
