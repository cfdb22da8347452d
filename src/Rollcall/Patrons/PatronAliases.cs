using Microsoft.EntityFrameworkCore;

namespace Rollcall.Patrons;

/// <summary>Looks patrons up by the further ids of their links.</summary>
internal static class PatronAliases
{
    /// <summary>The patrons who are known by this <c>sourcedId</c> besides their GUID.</summary>
    /// <param name="links">The links of one district.</param>
    /// <param name="sourcedId">The id, byte for byte.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<List<long>> FindAsync(IQueryable<PatronLink> links, string sourcedId, CancellationToken cancellationToken) =>
        [
            .. (
                await links
                    .AsNoTracking()
                    .Where(l => l.Aliases != null && l.Aliases.Contains(sourcedId))
                    .Select(l => new { l.PatronId, l.Aliases })
                    .ToListAsync(cancellationToken)
            )
                .Where(l => l.Aliases!.Split('\n').Contains(sourcedId, StringComparer.Ordinal))
                .Select(l => l.PatronId),
        ];
}
