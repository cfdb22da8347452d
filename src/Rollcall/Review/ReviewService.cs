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

    /// <summary>Mapped values by field number.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public IReadOnlyDictionary<int, string> Values { get; init; } = new Dictionary<int, string>();
}

/// <summary>People who could not be matched safely.</summary>
public sealed class ReviewService(RollcallDatabase database)
{
    /// <summary>Those who wait, the oldest first. Candidates are barcodes.</summary>
    public Task<IReadOnlyList<ReviewRow>> ListAsync(int districtId, CancellationToken cancellationToken = default) =>
        ListAsync(districtId, [ReviewStatus.Open], cancellationToken);

    /// <summary>Those who were decided on and whose decision can be taken back, the oldest first.</summary>
    public Task<IReadOnlyList<ReviewRow>> DecidedAsync(int districtId, CancellationToken cancellationToken = default) =>
        ListAsync(districtId, [ReviewStatus.Linked, ReviewStatus.Created, ReviewStatus.Ignored], cancellationToken);

    private async Task<IReadOnlyList<ReviewRow>> ListAsync(int districtId, ReviewStatus[] statuses, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var items = await context
            .ReviewItems.AsNoTracking()
            .Where(r => r.DistrictId == districtId && statuses.Contains(r.Status))
            .OrderBy(r => r.Id)
            .ToListAsync(cancellationToken);
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
