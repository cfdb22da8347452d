using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Districts;

/// <summary>One line of a district's Grade Table.</summary>
public sealed class GradeLevel
{
    public int DistrictId { get; set; }

    /// <summary>The grade as patrons have it.</summary>
    public string Level { get; set; } = "";

    /// <summary>1 is the first.</summary>
    public int Position { get; set; }
}

/// <summary>The Grade Table: the order in which a district has its grades, for sorting and for filters.</summary>
public sealed class GradeTable(RollcallDatabase database, TimeProvider time)
{
    /// <summary>More grades than any school system has.</summary>
    public const int Most = 200;

    /// <summary>The order where a district has not said another: that of schools, by the codes that rosters use.</summary>
    public static IReadOnlyList<string> Usual { get; } =
    ["IT", "PR", "PK", "TK", "KG", "K", .. Enumerable.Range(1, 13).SelectMany(n => (string[])[$"{n:00}", $"{n}"]).Distinct(), "PS", "UG"];

    /// <summary>The district's own order; empty where it goes by the usual one.</summary>
    public async Task<IReadOnlyList<string>> ListAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContext();
        return await ListAsync(context, districtId, cancellationToken);
    }

    internal static async Task<IReadOnlyList<string>> ListAsync(
        RollcallContext context,
        int districtId,
        CancellationToken cancellationToken
    ) =>
        await context
            .GradeLevels.Where(g => g.DistrictId == districtId)
            .OrderBy(g => g.Position)
            .Select(g => g.Level)
            .ToListAsync(cancellationToken);

    /// <summary>Replaces the district's order.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="levels">The grades, the first first; blanks are left out. None at all goes back to the usual order.</param>
    /// <param name="actor">Who.</param>
    /// <param name="was">The order that this was made from; null when nobody looked.</param>
    /// <param name="cancellationToken">Gives up; nothing is written then.</param>
    /// <exception cref="RollcallException">A grade stands twice or is too long, there are too many, or somebody has changed the order since
    /// it was looked at; nothing was changed.</exception>
    public async Task<IReadOnlyList<string>> SetAsync(
        int districtId,
        IEnumerable<string?> levels,
        string actor,
        IReadOnlyList<string>? was = null,
        CancellationToken cancellationToken = default
    )
    {
        var order = new List<string>();
        var keys = new HashSet<string>(StringComparer.Ordinal);
        foreach (var level in levels.Select(Text.Clean).OfType<string>())
        {
            if (level.Length > PatronFields.ByNumber(PatronFields.Level).MaxLength)
            {
                throw RollcallException.OfValue($"The grade {Text.Cut(level, 40)} is longer than a grade can be.");
            }

            if (!keys.Add(Key(level)))
            {
                throw RollcallException.OfValue($"The grade {level} stands twice. Take one of the two out.");
            }

            order.Add(level);
        }

        if (order.Count > Most)
        {
            throw RollcallException.OfValue($"A Grade Table has {Most} grades at most; these are {order.Count}.");
        }

        await using var work = await DistrictTransaction.BeginAsync(database, districtId, cancellationToken);
        var rows = await work
            .Context.GradeLevels.Where(g => g.DistrictId == districtId)
            .OrderBy(g => g.Position)
            .ToListAsync(cancellationToken);
        if (was is not null && !rows.Select(r => r.Level).SequenceEqual(was))
        {
            throw new RollcallException(
                "Somebody changed the Grade Table since you opened the page. Look at the grades again, then save once more."
            );
        }

        if (rows.Select(r => r.Level).SequenceEqual(order))
        {
            return order;
        }

        // Keys are what the roster says: the same grade in another place is another row's position, not a new row.
        var byLevel = rows.ToDictionary(r => r.Level, StringComparer.Ordinal);
        work.Context.GradeLevels.RemoveRange(rows.Where(r => !order.Contains(r.Level, StringComparer.Ordinal)));
        for (var i = 0; i < order.Count; i++)
        {
            if (byLevel.TryGetValue(order[i], out var row))
            {
                row.Position = i + 1;
            }
            else
            {
                work.Context.GradeLevels.Add(
                    new GradeLevel
                    {
                        DistrictId = districtId,
                        Level = order[i],
                        Position = i + 1,
                    }
                );
            }
        }

        work.Context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = time.GetUtcNow(),
                Actor = actor,
                Action = "grades",
                Details = order.Count == 0 ? "Grade Table: the usual order" : Text.Cut($"Grade Table: {string.Join(", ", order)}", 1000),
            }
        );
        await work.CommitAsync(cancellationToken);
        return order;
    }

    /// <summary>Grades in the order of the table; those that are not in it come after it in the usual order, and others last, by text.</summary>
    public static IReadOnlyList<string> Sort(IEnumerable<string> levels, IReadOnlyList<string> table) =>
        [.. levels.OrderBy(l => l, Order(table))];

    /// <summary>The same order, for sorting by it; who has no grade comes last of all.</summary>
    internal static Comparer<string?> Order(IReadOnlyList<string> table)
    {
        var places = table
            .Concat(Usual)
            .Select(Key)
            .Distinct(StringComparer.Ordinal)
            .Select((key, i) => (key, i))
            .ToDictionary(k => k.key, k => k.i, StringComparer.Ordinal);
        return Comparer<string?>.Create(
            (a, b) =>
                Place(a).CompareTo(Place(b)) is not 0 and var byPlace ? byPlace
                : StringComparer.OrdinalIgnoreCase.Compare(a, b) is not 0 and var byText ? byText
                : string.CompareOrdinal(a, b)
        );

        int Place(string? level) => level is null ? int.MaxValue : places.GetValueOrDefault(Key(level), int.MaxValue - 1);
    }

    // As both databases do it without asking for a language: other letters than those of ASCII stay as they are.
    private static string Key(string level) => Text.AsciiLower(level);
}
