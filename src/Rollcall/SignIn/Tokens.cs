using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Rollcall.SignIn;

/// <summary>Random values that browsers carry, and what the database keeps of them.</summary>
internal static class Tokens
{
    /// <summary>256 bits that nobody guesses, in characters that need no encoding in an address.</summary>
    public static string New() => Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    /// <summary>What is stored. A fast hash is enough: there is nothing to guess in 256 random bits.</summary>
    public static string Hash(string token) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(token)));
}
