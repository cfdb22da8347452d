using System.Security.Cryptography;
using System.Xml.Linq;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.DataProtection.XmlEncryption;
using Microsoft.Extensions.DependencyInjection;

namespace Rollcall.Storage;

/// <summary>Protects keys and tokens at rest. What is protected in one district cannot be read as another's.</summary>
public sealed class Secrets(IDataProtectionProvider provider)
{
    public string Protect(int districtId, string secret) => Of(districtId).Protect(secret);

    /// <exception cref="RollcallException">The master key is not the one the secret was stored under.</exception>
    public string Unprotect(int districtId, string stored)
    {
        try
        {
            return Of(districtId).Unprotect(stored);
        }
        catch (CryptographicException e)
        {
            throw new RollcallException(
                "A stored secret cannot be read with this installation's master key. Put the original key file back (ROLLCALL_KEY_FILE, or master.key in the data folder), or connect again.",
                e
            );
        }
    }

    private IDataProtector Of(int districtId) =>
        provider.CreateProtector("Rollcall.Secrets", districtId.ToString(System.Globalization.CultureInfo.InvariantCulture));
}

/// <summary>The key outside the database that the key ring in the database is encrypted with. No backup contains it.</summary>
internal sealed class MasterKey
{
    private const int Size = 32;

    private MasterKey(byte[] key) => Key = key;

    public byte[] Key { get; }

    /// <summary>Reads the key file, or makes the data folder's own at the first start.</summary>
    public static MasterKey Load(string dataFolder)
    {
        var chosen = Environment.GetEnvironmentVariable("ROLLCALL_KEY_FILE");
        var path = string.IsNullOrWhiteSpace(chosen) ? Path.Combine(dataFolder, "master.key") : chosen;
        try
        {
            if (!File.Exists(path))
            {
                if (!string.IsNullOrWhiteSpace(chosen))
                {
                    throw new RollcallException(
                        $"The key file {path} (ROLLCALL_KEY_FILE) does not exist. Make one with 'openssl rand -base64 32' and keep it safe."
                    );
                }

                Create(path);
            }

            var key = Convert.FromBase64String(File.ReadAllText(path).Trim());
            return key.Length == Size ? new MasterKey(key) : throw new FormatException();
        }
        catch (FormatException e)
        {
            throw new RollcallException($"The key file {path} does not hold {Size} bytes in base64. Put the original file back.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new RollcallException($"The key file {path} cannot be read or made: {e.Message}", e);
        }
    }

    private static void Create(string path)
    {
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        // Written beside and moved in whole: another process never reads half a key.
        var draft = $"{path}.{Guid.NewGuid():N}";
        using (var stream = new StreamWriter(new FileStream(draft, options)))
        {
            stream.WriteLine(Convert.ToBase64String(RandomNumberGenerator.GetBytes(Size)));
        }

        try
        {
            File.Move(draft, path, overwrite: false);
        }
        catch (IOException) when (File.Exists(path))
        {
            File.Delete(draft);
        }
    }
}

/// <summary>Encrypts the key ring's entries with the master key (AES-256-GCM).</summary>
internal sealed class MasterKeyEncryptor(MasterKey master) : IXmlEncryptor
{
    public EncryptedXmlInfo Encrypt(XElement plaintextElement)
    {
        var plain = System.Text.Encoding.UTF8.GetBytes(plaintextElement.ToString(SaveOptions.DisableFormatting));
        var sealedBytes = new byte[AesGcm.NonceByteSizes.MaxSize + plain.Length + AesGcm.TagByteSizes.MaxSize];
        var nonce = sealedBytes.AsSpan(0, AesGcm.NonceByteSizes.MaxSize);
        RandomNumberGenerator.Fill(nonce);
        using var aes = new AesGcm(master.Key, AesGcm.TagByteSizes.MaxSize);
        aes.Encrypt(nonce, plain, sealedBytes.AsSpan(nonce.Length, plain.Length), sealedBytes.AsSpan(nonce.Length + plain.Length));
        return new EncryptedXmlInfo(new XElement("sealed", Convert.ToBase64String(sealedBytes)), typeof(MasterKeyDecryptor));
    }
}

/// <summary>Decrypts what <see cref="MasterKeyEncryptor"/> encrypted. Made by name when the key ring is read.</summary>
internal sealed class MasterKeyDecryptor(IServiceProvider services) : IXmlDecryptor
{
    public XElement Decrypt(XElement encryptedElement)
    {
        var sealedBytes = Convert.FromBase64String(encryptedElement.Value);
        var nonce = sealedBytes.AsSpan(0, AesGcm.NonceByteSizes.MaxSize);
        var tag = sealedBytes.AsSpan(sealedBytes.Length - AesGcm.TagByteSizes.MaxSize);
        var plain = new byte[sealedBytes.Length - nonce.Length - tag.Length];
        using var aes = new AesGcm(services.GetRequiredService<MasterKey>().Key, AesGcm.TagByteSizes.MaxSize);
        aes.Decrypt(nonce, sealedBytes.AsSpan(nonce.Length, plain.Length), tag, plain);
        return XElement.Parse(System.Text.Encoding.UTF8.GetString(plain));
    }
}
