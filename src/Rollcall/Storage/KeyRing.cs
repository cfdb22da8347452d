using System.Security.Cryptography;
using System.Xml.Linq;
using Microsoft.AspNetCore.DataProtection.EntityFrameworkCore;
using Microsoft.AspNetCore.DataProtection.Repositories;
using Microsoft.EntityFrameworkCore;

namespace Rollcall.Storage;

/// <summary>The key ring's place: a table, so that every node of an installation reads the same. Its keys are encrypted with the master key; those
/// of another master key are as good as not there.</summary>
/// <param name="database">The database that it is in.</param>
/// <param name="master">What its keys are encrypted with.</param>
/// <param name="ofRehearsal">The database is a backup that is tried and thrown away.</param>
internal sealed class KeyRing(RollcallDatabase database, MasterKey master, bool ofRehearsal = false) : IXmlRepository
{
    /// <summary>How the name of a key begins that was given up because nobody had its master key any more. With that it is a key again.</summary>
    private const string SetAside = "set aside: ";

    private volatile bool _fits;

    /// <summary>Where the master key is.</summary>
    public string KeyFile => master.Path;

    /// <summary>There is no such file, and the database holds what was encrypted with it.</summary>
    public bool IsMissing => master.IsMissing;

    public IReadOnlyCollection<XElement> GetAllElements()
    {
        using var context = database.CreateContextAsOwner();
        return [.. Read(context).Where(e => e.Opens != false).Select(e => e.Xml)];
    }

    public void StoreElement(XElement element, string friendlyName)
    {
        // A process with another master key adds none of its own: neither could read what the other stores, nor take a form that it sent.
        EnsureFits();
        using var context = database.CreateContextAsOwner();
        context.DataProtectionKeys.Add(
            new DataProtectionKey { FriendlyName = friendlyName, Xml = element.ToString(SaveOptions.DisableFormatting) }
        );
        context.SaveChanges();
    }

    /// <summary>The master key opens a key of the ring, or there is none yet that counts.</summary>
    public bool Fits()
    {
        using var context = database.CreateContextAsOwner();
        var keys = Read(context).Where(e => e.Opens is not null).ToList();
        return keys.Exists(k => k.Opens == true) || keys.TrueForAll(k => IsSetAside(k.Row));
    }

    /// <summary>Looks once, until it fits.</summary>
    /// <exception cref="RollcallException">The master key is not this database's.</exception>
    public void EnsureFits()
    {
        if (_fits)
        {
            return;
        }

        if (!Fits())
        {
            throw new RollcallException(
                ofRehearsal
                    ? $"The backup holds keys and tokens that the master key in {KeyFile} does not open{(master.IsMissing ? ", which is missing" : "")}: they were encrypted with another one. Put that key file there before it is restored, or name it with ROLLCALL_KEY_FILE; without it a restore brings back everything else."
                : master.IsMissing
                    ? $"The master key {KeyFile} is missing: what is stored in this database was encrypted with it. Put the original key file there, or name it with ROLLCALL_KEY_FILE; all nodes need the same. Where it is lost for good, 'rollcall db adopt-key' makes another one and says what has to be connected again."
                : $"The master key in {KeyFile} does not fit this database: what is stored in it was encrypted with another one. Put the original key file there, or name it with ROLLCALL_KEY_FILE; all nodes need the same. Where it is lost for good, 'rollcall db adopt-key' goes on with this one and says what has to be connected again."
            );
        }

        _fits = true;
    }

    /// <summary>Where no key of the ring can be opened, they are set aside: this master key counts from now on, and the other one once it is back.</summary>
    /// <returns>False when it fits as it is.</returns>
    public bool Adopt()
    {
        if (Fits())
        {
            return false;
        }

        using var context = database.CreateContextAsOwner();
        foreach (var entry in Read(context).Where(e => e.Opens == false && !IsSetAside(e.Row)))
        {
            entry.Row.FriendlyName = SetAside + entry.Row.FriendlyName;
        }

        // First the file: a key that counts and is nowhere would be worse than one that does not count yet.
        master.Keep();
        context.SaveChanges();
        return true;
    }

    /// <summary>Something was encrypted with a master key that still counts.</summary>
    /// <exception cref="RollcallException">The database cannot be asked. A key that is made meanwhile would pass for the one that is missing.</exception>
    public static bool NeedsMasterKey(RollcallDatabase database)
    {
        if (database.FilePath is { } file && !File.Exists(file))
        {
            return false;
        }

        try
        {
            using var context = database.CreateContextAsOwner();
            return context.DataProtectionKeys.AsEnumerable().Any(k => !IsSetAside(k) && Secret(XElement.Parse(k.Xml!)) is not null);
        }
        catch (Exception e) when (DatabaseErrors.IsNoSuchTable(e))
        {
            return false;
        }
        catch (Exception e) when (DatabaseErrors.IsFault(e))
        {
            throw database.OutOfReach(e);
        }
    }

    private static XElement? Secret(XElement element) => element.Descendants().FirstOrDefault(e => e.Name.LocalName == "encryptedSecret");

    private static bool IsSetAside(DataProtectionKey row) => row.FriendlyName?.StartsWith(SetAside, StringComparison.Ordinal) == true;

    /// <summary>Everything that is in the ring, and of a key whether the master key opens it; null for what is not encrypted.</summary>
    private List<(DataProtectionKey Row, XElement Xml, bool? Opens)> Read(RollcallContext context) =>
        context
            .DataProtectionKeys.OrderBy(k => k.Id)
            .ToList()
            .ConvertAll(row =>
            {
                var xml = XElement.Parse(row.Xml!);
                return (row, xml, Opens(xml));
            });

    private bool? Opens(XElement element)
    {
        if (Secret(element) is not { } secret)
        {
            return null;
        }

        try
        {
            master.Open(Convert.FromBase64String(secret.Value));
            return true;
        }
        catch (Exception e) when (e is CryptographicException or FormatException)
        {
            return false;
        }
    }
}
