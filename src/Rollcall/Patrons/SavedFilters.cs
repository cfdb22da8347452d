using Microsoft.AspNetCore.WebUtilities;
using Microsoft.EntityFrameworkCore;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Patrons;

/// <summary>A view of the list of patrons that somebody comes back to.</summary>
public sealed class SavedFilter
{
    public int DistrictId { get; set; }

    /// <summary>Who saved it; nobody else sees it.</summary>
    public string Owner { get; set; } = "";

    public string Name { get; set; } = "";

    /// <summary>What the list's address holds behind the question mark.</summary>
    public string Query { get; set; } = "";

    /// <summary>What somebody typed or picked who may have looked for a person: the name of the filter, the search, the homeroom.</summary>
    internal IEnumerable<string> Texts
    {
        get
        {
            var query = QueryHelpers.ParseQuery(Query);
            return [Name, .. s_typed.SelectMany(k => query.TryGetValue(k, out var v) ? v.OfType<string>() : [])];
        }
    }

    private static readonly string[] s_typed = ["q", "homeroom"];
}

/// <summary>Filters of the list of patrons, saved by name, each person's own.</summary>
public sealed class SavedFilters(RollcallDatabase database)
{
    public const int LongestName = 60;
    public const int Most = 30;
    private const int LongestQuery = 2000;

    /// <summary>Whose filters somebody's are: an account's, or a patron's who signs in without one.</summary>
    public static string OwnerOf(Who who, int districtId) =>
        who.AccountId is { } account
            ? OwnerOfAccount(account)
            : OwnerOf(who.Grants.First(g => g.DistrictId == districtId).PatronId.GetValueOrDefault());

    /// <summary>Those of an account.</summary>
    public static string OwnerOfAccount(long accountId) => $"account {accountId}";

    /// <summary>Those of a patron who signs in without an account.</summary>
    public static string OwnerOf(long patronId) => $"patron {patronId}";

    /// <summary>In order of name.</summary>
    public async Task<IReadOnlyList<SavedFilter>> ListAsync(int districtId, string owner, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context
            .SavedFilters.AsNoTracking()
            .Where(f => f.DistrictId == districtId && f.Owner == owner)
            .OrderBy(f => f.Name)
            .ToListAsync(cancellationToken);
    }

    /// <summary>Saves a filter; one of that name is replaced.</summary>
    /// <exception cref="RollcallException">The name is blank or too long, there is nothing to save, or there are too many.</exception>
    public async Task SaveAsync(int districtId, string owner, string? name, string query, CancellationToken cancellationToken)
    {
        var clean = Text.Clean(name) ?? throw new RollcallException("A filter needs a name. Give it one and save it again.");
        if (clean.Length > LongestName)
        {
            throw new RollcallException($"The name of a filter has at most {LongestName} characters. Choose a shorter one.");
        }

        if (query.Length is 0 or > LongestQuery)
        {
            throw new RollcallException("There is no filter to save. Choose what the list should show first.");
        }

        // A button that is pressed twice sends the same twice at once.
        if (!await TryAsync())
        {
            await TryAsync();
        }

        async Task<bool> TryAsync()
        {
            await using var context = database.CreateContext();
            await PutAsync(context, districtId, owner, clean, query, cancellationToken);
            try
            {
                await context.SaveChangesAsync(cancellationToken);
                return true;
            }
            catch (DbUpdateException e) when (e.InnerException is not null && DatabaseErrors.IsUniqueViolation(e.InnerException))
            {
                return false;
            }
        }
    }

    private static async Task PutAsync(
        RollcallContext context,
        int districtId,
        string owner,
        string clean,
        string query,
        CancellationToken cancellationToken
    )
    {
        var own = await context.SavedFilters.Where(f => f.DistrictId == districtId && f.Owner == owner).ToListAsync(cancellationToken);
        if (own.Find(f => f.Name == clean) is { } there)
        {
            there.Query = query;
        }
        else if (own.Count >= Most)
        {
            throw new RollcallException($"{Most} filters are saved already. Remove one that nobody needs any more.");
        }
        else
        {
            context.Add(
                new SavedFilter
                {
                    DistrictId = districtId,
                    Owner = owner,
                    Name = clean,
                    Query = query,
                }
            );
        }
    }

    /// <summary>Removes a filter; it may be gone already.</summary>
    /// <returns>Whether it was there.</returns>
    public async Task<bool> RemoveAsync(int districtId, string owner, string? name, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context
                .SavedFilters.Where(f => f.DistrictId == districtId && f.Owner == owner && f.Name == name)
                .ExecuteDeleteAsync(cancellationToken) > 0;
    }
}
