using System.Data.Common;
using Microsoft.EntityFrameworkCore;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Sync.Apply;

/// <summary>The sites' Next Barcode, moved on in the same transaction as the patrons that took from it.</summary>
internal sealed class SiteSequences(int districtId, RollcallContext context)
{
    // By site and role group; the site's own sequence stands under RoleGroup.None.
    private readonly Dictionary<(int Site, RoleGroup Group), Sequence> _sequences = [];

    /// <summary>Reads the sequences as they are now.</summary>
    public async Task LoadAsync(CancellationToken cancellationToken)
    {
        _sequences.Clear();
        foreach (
            var site in await context
                .Sites.Where(s => s.DistrictId == districtId)
                .Select(s => new
                {
                    s.Id,
                    s.Code,
                    s.NextBarcode,
                })
                .ToListAsync(cancellationToken)
        )
        {
            _sequences[(site.Id, RoleGroup.None)] = new Sequence(site.Code, site.NextBarcode);
        }

        foreach (
            var own in await context
                .SiteDefaults.Where(s => s.DistrictId == districtId && s.NextBarcode != null)
                .Select(s => new
                {
                    s.SiteId,
                    s.RoleGroup,
                    s.NextBarcode,
                })
                .ToListAsync(cancellationToken)
        )
        {
            if (_sequences.TryGetValue((own.SiteId, RoleGroup.None), out var site))
            {
                _sequences[(own.SiteId, own.RoleGroup)] = new Sequence(site.SiteCode, own.NextBarcode!);
            }
        }
    }

    public bool Exists(int siteId) => _sequences.ContainsKey((siteId, RoleGroup.None));

    /// <summary>A barcode was drawn from the sequence, which goes on behind it, unless it has gone further already.</summary>
    public void Advance(int? siteId, RoleGroup group, string given)
    {
        if (
            Find(siteId, group) is not { } sequence
            || (!string.Equals(sequence.Next, given, StringComparison.OrdinalIgnoreCase) && !Barcodes.IsLater(sequence.Next, given))
            || Barcodes.Next(given) is not { } following
        )
        {
            return;
        }

        sequence.Next = following;
        sequence.Moved = true;
    }

    /// <summary>Writes the sequences that moved on, in the transaction that the context works in.</summary>
    public async Task SaveAsync(DbConnection connection, DbTransaction transaction, CancellationToken cancellationToken)
    {
        foreach (var ((site, group), sequence) in _sequences.Where(s => s.Value.Moved))
        {
            await Sql.ExecuteAsync(
                connection,
                transaction,
                group == RoleGroup.None
                    ? "UPDATE sites SET next_barcode = @next WHERE district_id = @district AND id = @site"
                    : "UPDATE site_defaults SET next_barcode = @next WHERE district_id = @district AND site_id = @site AND role_group = @group",
                cancellationToken,
                [
                    ("@next", sequence.Next),
                    ("@district", districtId),
                    ("@site", site),
                    .. group == RoleGroup.None ? Array.Empty<(string, object?)>() : [("@group", (object?)(int)group)],
                ]
            );
        }
    }

    /// <param name="siteId">Whose sequence.</param>
    /// <param name="group">Whose own sequence, where the site has one.</param>
    /// <param name="taken">Whether a barcode's key is promised to somebody whom the database does not have yet.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<string> NextFreeAsync(int? siteId, RoleGroup group, Func<string, bool> taken, CancellationToken cancellationToken)
    {
        var sequence = Find(siteId, group) ?? throw new RollcallException("A new patron has no site, so no barcode can be given.");
        var candidate = sequence.Next;
        while (true)
        {
            var key = Text.BarcodeKey(candidate);
            if (
                Barcodes.Problem(candidate) is null
                && !taken(key)
                && !await context.Patrons.AnyAsync(p => p.DistrictId == districtId && p.BarcodeKey == key, cancellationToken)
            )
            {
                return candidate;
            }

            candidate =
                Barcodes.Next(candidate)
                ?? throw RollcallException.OfPerson(
                    $"No barcode follows {candidate}. Give the site {sequence.SiteCode} another Next Barcode that ends in a digit."
                );
        }
    }

    private Sequence? Find(int? siteId, RoleGroup group) =>
        siteId is not { } id ? null : _sequences.GetValueOrDefault((id, group)) ?? _sequences.GetValueOrDefault((id, RoleGroup.None));

    private sealed class Sequence(string siteCode, string next)
    {
        public string SiteCode => siteCode;
        public string Next { get; set; } = next;
        public bool Moved { get; set; }
    }
}
