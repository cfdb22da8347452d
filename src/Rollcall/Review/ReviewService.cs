using System.Globalization;
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

    /// <summary>The operation that carried the decision out; null while there is none.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public long? DecisionOperationId { get; init; }

    /// <summary>The decision was taken back: what the roster says of the person comes with the next full sync.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public bool AwaitsValues { get; init; }

    /// <summary>How many candidates there are besides, patrons whom the visitor may not see: who it is, is not theirs to say.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public int Hidden { get; init; }

    /// <summary>Mapped values by field number.</summary>
    [System.Text.Json.Serialization.JsonIgnore]
    public IReadOnlyDictionary<int, string> Values { get; init; } = new Dictionary<int, string>();
}

/// <summary>Which people of Review to list; null leaves a filter open.</summary>
/// <param name="Search">Parts of a name, a Student #, a barcode, an email or the roster's id.</param>
/// <param name="Reason">One reason, exactly.</param>
/// <param name="Sites">Those whom the roster puts at one of these sites.</param>
public sealed record ReviewFilter(string? Search = null, string? Reason = null, IReadOnlyCollection<int>? Sites = null);

/// <summary>How those who wait in Review are sorted.</summary>
public enum ReviewSort
{
    Oldest,
    Newest,
    Name,
}

/// <summary>People who could not be matched safely.</summary>
public sealed class ReviewService(RollcallDatabase database)
{
    private static readonly int[] s_searched =
    [
        PatronFields.LastName,
        PatronFields.FirstName,
        PatronFields.MiddleName,
        PatronFields.CommunityId,
        PatronFields.Barcode,
        PatronFields.Email,
    ];

    /// <summary>Those who wait, the oldest first. Candidates are barcodes.</summary>
    public Task<IReadOnlyList<ReviewRow>> ListAsync(int districtId, CancellationToken cancellationToken = default) =>
        ListAsync(districtId, q => q.Where(r => r.Status == ReviewStatus.Open).OrderBy(r => r.Id), cancellationToken);

    /// <summary>The numbers of those who wait, or of those whose decision can be taken back. A search and names read what is kept of each.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="filter">Whose.</param>
    /// <param name="sort">In which order.</param>
    /// <param name="decided">Those who were decided on, instead of those who wait.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyList<int>> FindAsync(
        int districtId,
        ReviewFilter filter,
        ReviewSort sort = ReviewSort.Oldest,
        bool decided = false,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var query = Which(context, districtId, filter, decided);
        query = sort == ReviewSort.Newest ? query.OrderByDescending(r => r.Id) : query.OrderBy(r => r.Id);
        var words = Text.Clean(filter.Search) is { } search ? Text.Words(search) : null;
        if (words is null && sort != ReviewSort.Name)
        {
            return await query.Select(r => r.Id).ToListAsync(cancellationToken);
        }

        if (words is { Count: 0 })
        {
            // Marks alone: every name would have them.
            return [];
        }

        var found = new List<(int Id, string Name)>();
        await foreach (
            var row in query
                .Select(r => new
                {
                    r.Id,
                    r.RosterId,
                    r.Values,
                })
                .AsAsyncEnumerable()
                .WithCancellation(cancellationToken)
        )
        {
            var values = ChangeValues.Parse(row.Values);
            var text = Text.Fold(string.Join('\n', s_searched.Select(values.New).OfType<string>().Append(row.RosterId)));
            if (words is null || words.All(w => text.Contains(w, StringComparison.Ordinal)))
            {
                found.Add((row.Id, Text.Fold($"{values.New(PatronFields.LastName)}\n{values.New(PatronFields.FirstName)}")));
            }
        }

        IEnumerable<(int Id, string Name)> sorted = sort == ReviewSort.Name ? found.OrderBy(f => f.Name, StringComparer.Ordinal) : found;
        return [.. sorted.Select(f => f.Id)];
    }

    /// <summary>How many wait, or were decided on.</summary>
    public async Task<int> CountAsync(
        int districtId,
        IReadOnlyCollection<int>? sites,
        bool decided = false,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        return await Which(context, districtId, new ReviewFilter(Sites: sites), decided).CountAsync(cancellationToken);
    }

    /// <summary>Why those of these sites wait, the most frequent reason first; null is every site.</summary>
    public async Task<IReadOnlyList<string>> ReasonsAsync(
        int districtId,
        IReadOnlyCollection<int>? sites,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        return await Which(context, districtId, new ReviewFilter(Sites: sites), decided: false)
            .GroupBy(r => r.Reason)
            .OrderByDescending(g => g.Count())
            .ThenBy(g => g.Key)
            .Select(g => g.Key)
            .Take(50)
            .ToListAsync(cancellationToken);
    }

    /// <summary>Whether somebody waits under this number, or was decided on.</summary>
    public async Task<bool> HasAsync(int districtId, int id, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await context.ReviewItems.AnyAsync(r => r.DistrictId == districtId && r.Id == id, cancellationToken);
    }

    /// <summary>People by their numbers, in the order of these.</summary>
    public async Task<IReadOnlyList<ReviewRow>> RowsAsync(
        int districtId,
        IReadOnlyList<int> ids,
        CancellationToken cancellationToken = default
    )
    {
        if (ids.Count == 0)
        {
            return [];
        }

        var rows = (await ListAsync(districtId, q => q.Where(r => ids.Contains(r.Id)), cancellationToken)).ToDictionary(r => r.Id);
        return [.. ids.Select(rows.GetValueOrDefault).OfType<ReviewRow>()];
    }

    /// <summary>A page of those whose decision can be taken back, the last decision first, and how many there are in all. 1 is the first page.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="sites">Those whom the roster put at one of these; null is all.</param>
    /// <param name="page">1 is the first.</param>
    /// <param name="size">People a page.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<(IReadOnlyList<ReviewRow> Rows, int Total)> DecidedAsync(
        int districtId,
        IReadOnlyCollection<int>? sites,
        int page,
        int size,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContext();
        var ids = await Which(context, districtId, new ReviewFilter(Sites: sites), decided: true)
            .OrderByDescending(r => r.DecidedAt)
            .ThenBy(r => r.Id)
            .Skip((page - 1) * size)
            .Take(size)
            .Select(r => r.Id)
            .ToListAsync(cancellationToken);
        return (await RowsAsync(districtId, ids, cancellationToken), await CountAsync(districtId, sites, decided: true, cancellationToken));
    }

    /// <summary>The barcodes of the patrons that decisions linked or made, by operation. One whose log is no longer kept is left out, and so is a patron who
    /// is gone.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="operations">The operations that carried the decisions out.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyDictionary<long, string>> DecidedPatronsAsync(
        int districtId,
        IReadOnlyCollection<long> operations,
        CancellationToken cancellationToken = default
    )
    {
        if (operations.Count == 0)
        {
            return new Dictionary<long, string>();
        }

        await using var context = database.CreateContext();
        var found = await context
            .Changes.Where(c => c.DistrictId == districtId && operations.Contains(c.OperationId) && c.PatronId != null)
            .Join(
                context.Patrons.Where(p => p.DistrictId == districtId),
                c => c.PatronId,
                p => p.Id,
                (c, p) => new { c.OperationId, p.Barcode }
            )
            .ToListAsync(cancellationToken);
        return found.DistinctBy(f => f.OperationId).ToDictionary(f => f.OperationId, f => f.Barcode);
    }

    private static IQueryable<ReviewItem> Which(RollcallContext context, int districtId, ReviewFilter filter, bool decided)
    {
        var query = context.ReviewItems.AsNoTracking().Where(r => r.DistrictId == districtId);
        query = decided
            ? query.Where(r => r.Status == ReviewStatus.Linked || r.Status == ReviewStatus.Created || r.Status == ReviewStatus.Ignored)
            : query.Where(r => r.Status == ReviewStatus.Open);
        if (filter.Reason is { } reason)
        {
            query = query.Where(r => r.Reason == reason);
        }

        if (filter.Sites is { } sites)
        {
            // As the one who writes them puts it: a value that somebody typed has its quotes escaped.
            string[] marks = [.. sites.Select(s => string.Create(CultureInfo.InvariantCulture, $"\"{PatronFields.Site}\":[null,\"{s}\"]"))];
            query = query.Where(r => marks.Any(m => r.Values.Contains(m)));
        }

        return query;
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
                    DecisionOperationId = i.DecisionOperationId,
                    AwaitsValues = i.AwaitsValues,
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
