using Microsoft.EntityFrameworkCore;
using Rollcall.Operations;
using Rollcall.Storage;

namespace Rollcall.Patrons.Erasure;

/// <summary>The erasures of a district that had been done at a moment, by which it is known later whether there was another one.</summary>
internal sealed class Erasures
{
    /// <summary>What an erasure's options are once the person is out: whom it was about goes with them.</summary>
    public const string Done = "{}";

    private readonly int _districtId;
    private readonly HashSet<long> _done;

    private Erasures(int districtId, HashSet<long> done) => (_districtId, _done) = (districtId, done);

    /// <summary>Those that are done now.</summary>
    public static async Task<Erasures> SoFarAsync(RollcallContext context, int districtId, CancellationToken cancellationToken) =>
        new(districtId, [.. await DoneAsync(context, districtId, cancellationToken)]);

    /// <summary>Somebody was erased since. Under the district's lock this stays so.</summary>
    public async Task<bool> AnySinceAsync(RollcallContext context, CancellationToken cancellationToken) =>
        (await DoneAsync(context, _districtId, cancellationToken)).Exists(id => !_done.Contains(id));

    private static Task<List<long>> DoneAsync(RollcallContext context, int districtId, CancellationToken cancellationToken) =>
        context
            .Operations.Where(o => o.DistrictId == districtId && o.Kind == OperationKind.Erase && o.Options == Done)
            .Select(o => o.Id)
            .ToListAsync(cancellationToken);
}
