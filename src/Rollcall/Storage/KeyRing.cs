using System.Xml.Linq;
using Microsoft.AspNetCore.DataProtection.EntityFrameworkCore;
using Microsoft.AspNetCore.DataProtection.Repositories;
using Microsoft.EntityFrameworkCore;

namespace Rollcall.Storage;

/// <summary>The key ring's place: a table, so that every node of an installation reads the same.</summary>
internal sealed class KeyRing(RollcallDatabase database) : IXmlRepository
{
    public IReadOnlyCollection<XElement> GetAllElements()
    {
        using var context = database.CreateContextAsOwner();
        return [.. context.DataProtectionKeys.AsNoTracking().ToList().Select(k => XElement.Parse(k.Xml!))];
    }

    public void StoreElement(XElement element, string friendlyName)
    {
        using var context = database.CreateContextAsOwner();
        context.DataProtectionKeys.Add(
            new DataProtectionKey { FriendlyName = friendlyName, Xml = element.ToString(SaveOptions.DisableFormatting) }
        );
        context.SaveChanges();
    }
}
