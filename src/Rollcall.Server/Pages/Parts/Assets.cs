using System.Collections.Frozen;
using System.IO.Compression;
using System.Security.Cryptography;

namespace Rollcall.Server.Pages.Parts;

/// <summary>Styles, scripts and pictures out of the assembly. Their addresses hold a hash of the content, so browsers keep them for good.</summary>
internal sealed class Assets
{
    private const string Prefix = "wwwroot/";
    private readonly FrozenDictionary<string, Asset> _all = Load();

    /// <summary>The address of a file under <c>wwwroot</c>.</summary>
    public string Url(string path) => $"/assets/{_all[path].Print}/{path}";

    public async Task ServeAsync(string path, HttpContext http)
    {
        if (!_all.TryGetValue(path, out var asset))
        {
            http.Response.StatusCode = StatusCodes.Status404NotFound;
            return;
        }

        var response = http.Response;
        response.ContentType = asset.ContentType;
        response.Headers.CacheControl = http.Request.Path.StartsWithSegments("/assets", StringComparison.Ordinal)
            ? "public, max-age=31536000, immutable"
            : "public, max-age=3600";
        response.Headers.Vary = "Accept-Encoding";
        var packed = http.Request.Headers.AcceptEncoding.ToString().Contains("gzip", StringComparison.OrdinalIgnoreCase);
        if (packed)
        {
            response.Headers.ContentEncoding = "gzip";
        }

        var bytes = packed ? asset.Packed : asset.Plain;
        response.ContentLength = bytes.Length;
        await response.Body.WriteAsync(bytes, http.RequestAborted);
    }

    private static FrozenDictionary<string, Asset> Load()
    {
        var assembly = typeof(Assets).Assembly;
        return assembly
            .GetManifestResourceNames()
            .Where(n => n.StartsWith(Prefix, StringComparison.Ordinal))
            .ToFrozenDictionary(
                n => n[Prefix.Length..].Replace('\\', '/'),
                n =>
                {
                    using var stream = assembly.GetManifestResourceStream(n)!;
                    var plain = new byte[stream.Length];
                    stream.ReadExactly(plain);
                    using var packed = new MemoryStream();
                    using (var gzip = new GZipStream(packed, CompressionLevel.Optimal))
                    {
                        gzip.Write(plain);
                    }

                    return new Asset(plain, packed.ToArray(), Convert.ToHexStringLower(SHA256.HashData(plain))[..12], TypeOf(n));
                },
                StringComparer.Ordinal
            );
    }

    private static string TypeOf(string path) =>
        Path.GetExtension(path) switch
        {
            ".css" => "text/css; charset=utf-8",
            ".js" => "text/javascript; charset=utf-8",
            ".svg" => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };

    private sealed record Asset(byte[] Plain, byte[] Packed, string Print, string ContentType);
}
