using Rollcall.Districts;
using Rollcall.Patrons;

namespace Rollcall.Sync.Plan;

/// <summary>The next barcode of each site and role group, while taken ones are skipped.</summary>
internal sealed class BarcodeSequences
{
    private const int MaxSkips = 10_000_000;
    private readonly Func<string, bool> _isTaken;
    private readonly Dictionary<int, string> _codes = [];
    private readonly Dictionary<(int Site, RoleGroup Group), Sequence> _sequences = [];

    public BarcodeSequences(IEnumerable<Site> sites, IEnumerable<SiteDefault> defaults, Func<string, bool> isTaken)
    {
        _isTaken = isTaken;
        foreach (var site in sites)
        {
            _codes[site.Id] = site.Code;
            _sequences[(site.Id, RoleGroup.None)] = new Sequence { Next = site.NextBarcode };
        }

        foreach (var own in defaults)
        {
            if (own.NextBarcode is not null)
            {
                _sequences[(own.SiteId, own.RoleGroup)] = new Sequence { Next = own.NextBarcode };
            }
        }
    }

    /// <summary>The next free barcode of the site. The caller notes it as taken.</summary>
    /// <exception cref="RollcallException">The site has none left.</exception>
    public string Take(int siteId, RoleGroup group)
    {
        if (!_sequences.TryGetValue((siteId, group), out var sequence))
        {
            sequence = _sequences[(siteId, RoleGroup.None)];
        }

        var candidate = sequence.Next;
        for (var skips = 0; skips < MaxSkips; skips++)
        {
            var next = Barcodes.Next(candidate) ?? throw Exhausted(siteId, candidate);
            if (Barcodes.Problem(candidate) is null && !_isTaken(Text.BarcodeKey(candidate)))
            {
                sequence.Next = next;
                sequence.Used = true;
                return candidate;
            }

            candidate = next;
        }

        throw Exhausted(siteId, candidate);
    }

    /// <summary>The sequences that were used, with their next barcode.</summary>
    public IEnumerable<(int Site, RoleGroup Group, string Next)> Used() =>
        _sequences.Where(s => s.Value.Used).Select(s => (s.Key.Site, s.Key.Group, s.Value.Next));

    private RollcallException Exhausted(int siteId, string barcode) =>
        RollcallException.OfPerson(
            $"No barcode follows {barcode}. Give the site {_codes[siteId]} another Next Barcode that ends in a digit."
        );

    private sealed class Sequence
    {
        public required string Next { get; set; }
        public bool Used { get; set; }
    }
}
