using System.Security.Cryptography;
using System.Xml.Linq;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.DataProtection.XmlEncryption;
using Microsoft.Extensions.DependencyInjection;

namespace Rollcall.Storage;

/// <summary>Protects keys and tokens at rest. What is protected in one district cannot be read as another's.</summary>
public sealed class Secrets
{
    private readonly IDataProtectionProvider _provider;
    private readonly KeyRing _ring;

    internal Secrets(IDataProtectionProvider provider, KeyRing ring) => (_provider, _ring) = (provider, ring);

    /// <exception cref="RollcallException">The master key is not this database's.</exception>
    public string Protect(int districtId, string secret) => Of(districtId).Protect(secret);

    /// <exception cref="RollcallException">The master key is not the one the secret was stored under.</exception>
    public string Unprotect(int districtId, string stored)
    {
        var protector = Of(districtId);
        try
        {
            return protector.Unprotect(stored);
        }
        catch (CryptographicException e)
        {
            throw new RollcallException(
                "A stored secret cannot be read with this installation's master key. Put the original key file back (ROLLCALL_KEY_FILE, or master.key in the data folder), or connect again.",
                e
            );
        }
    }

    private IDataProtector Of(int districtId)
    {
        // Asked before the key ring is read, which would answer with a page of its own faults.
        _ring.EnsureFits();
        return _provider.CreateProtector("Rollcall.Secrets", districtId.ToString(System.Globalization.CultureInfo.InvariantCulture));
    }
}

/// <summary>The key outside the database that the key ring in the database is encrypted with. No backup contains it.</summary>
internal sealed class MasterKey
{
    private const int Size = 32;

    private readonly byte[] _key;

    private MasterKey(byte[] key, string path) => (_key, Path) = (key, path);

    /// <summary>The file that it is in.</summary>
    public string Path { get; }

    /// <summary>Encrypts (AES-256-GCM): a nonce, what is meant, and the tag.</summary>
    public byte[] Seal(ReadOnlySpan<byte> plain)
    {
        var sealedBytes = new byte[AesGcm.NonceByteSizes.MaxSize + plain.Length + AesGcm.TagByteSizes.MaxSize];
        var nonce = sealedBytes.AsSpan(0, AesGcm.NonceByteSizes.MaxSize);
        RandomNumberGenerator.Fill(nonce);
        using var aes = new AesGcm(_key, AesGcm.TagByteSizes.MaxSize);
        aes.Encrypt(nonce, plain, sealedBytes.AsSpan(nonce.Length, plain.Length), sealedBytes.AsSpan(nonce.Length + plain.Length));
        return sealedBytes;
    }

    /// <exception cref="CryptographicException">It was sealed with another key.</exception>
    public byte[] Open(ReadOnlySpan<byte> sealedBytes)
    {
        var length = sealedBytes.Length - AesGcm.NonceByteSizes.MaxSize - AesGcm.TagByteSizes.MaxSize;
        if (length < 0)
        {
            throw new CryptographicException("That is no sealed text.");
        }

        var nonce = sealedBytes[..AesGcm.NonceByteSizes.MaxSize];
        var plain = new byte[length];
        using var aes = new AesGcm(_key, AesGcm.TagByteSizes.MaxSize);
        aes.Decrypt(nonce, sealedBytes.Slice(nonce.Length, length), sealedBytes[(nonce.Length + length)..], plain);
        return plain;
    }

    /// <summary>Reads the key file, or makes the data folder's own at the first start. One that ROLLCALL_KEY_FILE names is made by whoever runs the
    /// installation, or by <see cref="Keep"/>.</summary>
    /// <param name="folder">Where it is, unless ROLLCALL_KEY_FILE names it.</param>
    /// <param name="mayMake">It may be made here.</param>
    /// <param name="isNeeded">The database holds what was encrypted with one: another one that is made opens none of it, and would pass for the one that
    /// is missing.</param>
    public static MasterKey Load(string folder, bool mayMake, Func<bool> isNeeded)
    {
        var chosen = Environment.GetEnvironmentVariable("ROLLCALL_KEY_FILE");
        var isChosen = !string.IsNullOrWhiteSpace(chosen);
        var path = isChosen ? chosen! : System.IO.Path.Combine(folder, "master.key");
        try
        {
            if (Read(path) is { } key)
            {
                return new MasterKey(key, path);
            }

            if ((!isChosen && !mayMake) || isNeeded())
            {
                return new MasterKey(RandomNumberGenerator.GetBytes(Size), path) { IsMissing = true };
            }

            if (isChosen)
            {
                throw new RollcallException(
                    $"The key file {path} (ROLLCALL_KEY_FILE) does not exist. Make one with 'openssl rand -base64 32' and keep it safe."
                );
            }

            Create(path, RandomNumberGenerator.GetBytes(Size));

            // Another process may have been first.
            return new MasterKey(Read(path) ?? throw new FileNotFoundException("It was taken away again.", path), path);
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

    /// <returns>Null when there is no such file. One that cannot be got at is there, as far as anybody knows.</returns>
    private static byte[]? Read(string path)
    {
        string text;
        try
        {
            text = File.ReadAllText(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }

        var key = Convert.FromBase64String(text.Trim());
        return key.Length == Size ? key : throw new FormatException();
    }

    /// <summary>The file is missing, and the database holds what was encrypted with it. This one is made up and written nowhere.</summary>
    public bool IsMissing { get; private set; }

    /// <summary>Writes the one that was made up: it is to count from now on.</summary>
    /// <exception cref="RollcallException">It cannot be written there, or another one is there by now.</exception>
    public void Keep()
    {
        if (!IsMissing)
        {
            return;
        }

        try
        {
            Create(Path, _key);
            if (Read(Path)?.SequenceEqual(_key) != true)
            {
                throw new RollcallException($"A key file {Path} has appeared meanwhile. Nothing was changed: try again, with that one.");
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            throw new RollcallException($"The key file {Path} cannot be made: {e.Message} Nothing was changed.", e);
        }

        IsMissing = false;
    }

    private static void Create(string path, byte[] key)
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
            stream.WriteLine(Convert.ToBase64String(key));
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

/// <summary>Encrypts the key ring's entries with the master key.</summary>
internal sealed class MasterKeyEncryptor(MasterKey master) : IXmlEncryptor
{
    public EncryptedXmlInfo Encrypt(XElement plaintextElement)
    {
        var sealedBytes = master.Seal(System.Text.Encoding.UTF8.GetBytes(plaintextElement.ToString(SaveOptions.DisableFormatting)));
        return new EncryptedXmlInfo(new XElement("sealed", Convert.ToBase64String(sealedBytes)), typeof(MasterKeyDecryptor));
    }
}

/// <summary>Decrypts what <see cref="MasterKeyEncryptor"/> encrypted. Made by name when the key ring is read.</summary>
internal sealed class MasterKeyDecryptor(IServiceProvider services) : IXmlDecryptor
{
    public XElement Decrypt(XElement encryptedElement)
    {
        var sealedBytes = Convert.FromBase64String(encryptedElement.Value);
        return XElement.Parse(System.Text.Encoding.UTF8.GetString(services.GetRequiredService<MasterKey>().Open(sealedBytes)));
    }
}
