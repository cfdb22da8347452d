using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync.Apply;

/// <summary>The sites' Next Barcode, moved on in the same transaction as the patrons that took from it.</summary>
internal sealed class SiteSequences(int districtId, RollcallContext context)
{
    private Dictionary<int, Site> _sites = [];
    private Dictionary<(int Site, RoleGroup Group), SiteDefault> _defaults = [];

    public async Task LoadAsync(CancellationToken cancellationToken)
    {
        _sites = await context.Sites.Where(s => s.DistrictId == districtId).ToDictionaryAsync(s => s.Id, cancellationToken);
        _defaults = await context
            .SiteDefaults.Where(s => s.DistrictId == districtId && s.NextBarcode != null)
            .ToDictionaryAsync(s => (s.SiteId, s.RoleGroup), cancellationToken);
    }

    public bool Exists(int siteId) => _sites.ContainsKey(siteId);

    /// <summary>A barcode was given: when it is of the sequence, the sequence goes on behind it.</summary>
    public void Advance(int? siteId, RoleGroup group, string given)
    {
        if (siteId is not { } id || !_sites.TryGetValue(id, out var site))
        {
            return;
        }

        var own = _defaults.GetValueOrDefault((id, group));
        var next = own?.NextBarcode ?? site.NextBarcode;
        if (!string.Equals(next, given, StringComparison.OrdinalIgnoreCase) && !Barcodes.IsLater(next, given))
        {
            return;
        }

        if (Barcodes.Next(given) is not { } following)
        {
            return;
        }

        if (own is not null)
        {
            own.NextBarcode = following;
        }
        else
        {
            site.NextBarcode = following;
        }
    }

    public async Task<string> NextFreeAsync(
        int? siteId,
        RoleGroup group,
        IReadOnlyDictionary<string, long> taken,
        CancellationToken cancellationToken
    )
    {
        if (siteId is not { } id || !_sites.TryGetValue(id, out var site))
        {
            throw new RollcallException("A new patron has no site, so no barcode can be given.");
        }

        var candidate = _defaults.GetValueOrDefault((id, group))?.NextBarcode ?? site.NextBarcode;
        while (true)
        {
            var key = Text.BarcodeKey(candidate);
            if (
                Barcodes.Problem(candidate) is null
                && !taken.ContainsKey(key)
                && !await context.Patrons.AnyAsync(p => p.DistrictId == districtId && p.BarcodeKey == key, cancellationToken)
            )
            {
                return candidate;
            }

            candidate =
                Barcodes.Next(candidate)
                ?? throw new RollcallException(
                    $"No barcode follows {candidate}. Give the site {site.Code} another Next Barcode that ends in a digit."
                );
        }
    }
}
