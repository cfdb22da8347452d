using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Patrons;
using Rollcall.Storage;
using Rollcall.Sync;

namespace Rollcall.Review;

/// <summary>A person in Review, in words.</summary>
public sealed record ReviewRow(
    int Id,
    string Guid,
    string? Name,
    string RoleGroup,
    string Status,
    string Reason,
    string? Site,
    IReadOnlyList<string> Candidates
)
{
    /// <summary>Who decided; null while it waits.</summary>
    public string? DecidedBy { get; init; }

    /// <summary>When; null while it waits.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public DateTimeOffset? DecidedAt { get; init; }

    /// <summary>How many candidates there are besides, patrons whom the visitor may not see: who it is, is not theirs to say.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public int Hidden { get; init; }

    /// <summary>Mapped values by field number.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public IReadOnlyDictionary<int, string> Values { get; init; } = new Dictionary<int, string>();
}

/// <summary>People who could not be matched safely.</summary>
public sealed class ReviewService(RollcallDatabase database)
{
    /// <summary>Those who wait, the oldest first. Candidates are barcodes.</summary>
    public Task<IReadOnlyList<ReviewRow>> ListAsync(int districtId, CancellationToken cancellationToken = default) =>
        ListAsync(districtId, q => q.Where(r => r.Status == ReviewStatus.Open).OrderBy(r => r.Id), cancellationToken);

    /// <summary>Those who were decided on and whose decision can be taken back, the oldest first.</summary>
    public Task<IReadOnlyList<ReviewRow>> DecidedAsync(int districtId, CancellationToken cancellationToken = default) =>
        ListAsync(districtId, q => Decided(q).OrderBy(r => r.Id), cancellationToken);

    /// <summary>A page of them, the last decision first, and how many there are in all. 1 is the first page.</summary>
    public async Task<(IReadOnlyList<ReviewRow> Rows, int Total)> DecidedAsync(
        int districtId,
        int page,
        int size,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        return (
            await ListAsync(
                districtId,
                q => Decided(q).OrderByDescending(r => r.DecidedAt).ThenBy(r => r.Id).Skip((page - 1) * size).Take(size),
                cancellationToken
            ),
            await Decided(context.ReviewItems.Where(r => r.DistrictId == districtId)).CountAsync(cancellationToken)
        );
    }

    /// <summary>How many wait at each site that the roster puts them at, by the site's id.</summary>
    public async Task<IReadOnlyDictionary<int, int>> OpenBySiteAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        var values = await context
            .ReviewItems.Where(r => r.DistrictId == districtId && r.Status == ReviewStatus.Open)
            .Select(r => r.Values)
            .ToListAsync(cancellationToken);
        return values
            .Select(v => ChangeValues.Parse(v).New(PatronFields.Site))
            .OfType<string>()
            .CountBy(s => int.Parse(s, System.Globalization.CultureInfo.InvariantCulture))
            .ToDictionary();
    }

    private static IQueryable<ReviewItem> Decided(IQueryable<ReviewItem> items) =>
        items.Where(r => r.Status == ReviewStatus.Linked || r.Status == ReviewStatus.Created || r.Status == ReviewStatus.Ignored);

    private async Task<IReadOnlyList<ReviewRow>> ListAsync(
        int districtId,
        Func<IQueryable<ReviewItem>, IQueryable<ReviewItem>> which,
        CancellationToken cancellationToken
    )
    {
        await using var context = database.CreateContext();
        var items = await which(context.ReviewItems.AsNoTracking().Where(r => r.DistrictId == districtId)).ToListAsync(cancellationToken);
        var sites = await context.Sites.Where(s => s.DistrictId == districtId).ToDictionaryAsync(s => s.Id, s => s.Code, cancellationToken);
        var ids = items.SelectMany(i => JsonSerializer.Deserialize<long[]>(i.Candidates) ?? []).Distinct().ToArray();
        var barcodes = new Dictionary<long, string>();
        foreach (var chunk in ids.Chunk(1000))
        {
            foreach (
                var patron in await context
                    .Patrons.Where(p => p.DistrictId == districtId && chunk.Contains(p.Id))
                    .Select(p => new { p.Id, p.Barcode })
                    .ToListAsync(cancellationToken)
            )
            {
                barcodes[patron.Id] = patron.Barcode;
            }
        }

        return
        [
            .. items.Select(i =>
            {
                var values = ChangeValues.Parse(i.Values);
                var last = values.New(PatronFields.LastName);
                var first = values.New(PatronFields.FirstName);
                return new ReviewRow(
                    i.Id,
                    i.RosterId,
                    last is null ? first
                        : first is null ? last
                        : $"{last}, {first}",
                    i.RoleGroup.ToString().ToLowerInvariant(),
                    i.Status.ToString().ToLowerInvariant(),
                    i.Reason,
                    values.New(PatronFields.Site) is { } site
                        ? sites.GetValueOrDefault(int.Parse(site, System.Globalization.CultureInfo.InvariantCulture))
                        : null,
                    [
                        .. (JsonSerializer.Deserialize<long[]>(i.Candidates) ?? [])
                            .Select(c => barcodes.GetValueOrDefault(c))
                            .OfType<string>(),
                    ]
                )
                {
                    DecidedBy = i.DecidedBy,
                    DecidedAt = i.DecidedAt,
                    Values = values.Items.Where(v => v.New is not null).ToDictionary(v => v.Field, v => v.New!),
                };
            }),
        ];
    }

    public async Task<int> OpenCountAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context.ReviewItems.CountAsync(r => r.DistrictId == districtId && r.Status == ReviewStatus.Open, cancellationToken);
    }
}
