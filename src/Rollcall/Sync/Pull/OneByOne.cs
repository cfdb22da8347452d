using System.Buffers;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;

namespace Rollcall.Sync.Pull;

/// <summary>The service cannot be asked for parts of a roster, so that all of it has to be read. The message says why.</summary>
internal sealed class NotInPartsException(string why, Exception? inner = null) : Exception(why, inner)
{
    /// <summary>The service refuses a question, where for the whole of a collection it would perhaps have an answer.</summary>
    public static bool IsRefusal(RosterException e) => e.StatusCode is 400 or 403 or 404 or 405 or 410 or 422 or 501;
}

/// <summary>Reads people one by one. That a service does not find somebody says that they are gone only if it finds those who are there:
/// some have no such address, and some stand behind a front that does not let every id through.</summary>
internal sealed class OneByOne(RestRosterSource source)
{
    private const string Why = "the server does not give people one by one";

    /// <summary>What fronts are known to take for something else, percent-encoded as it is.</summary>
    private static readonly SearchValues<char> s_odd = SearchValues.Create("/\\%;+?#");

    /// <summary>Odd characters of the ids by which somebody was found.</summary>
    private readonly HashSet<string> _found = new(StringComparer.Ordinal);
    private List<string>? _listed;

    /// <summary>Reads one person.</summary>
    /// <param name="id">Whom.</param>
    /// <param name="present">People whom the service has listed just now.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>Null when the roster has nobody of that id.</returns>
    /// <exception cref="NotInPartsException">The service does not say.</exception>
    public async Task<User?> ReadAsync(string id, IEnumerable<User> present, CancellationToken cancellationToken) =>
        await AskAsync(id, cancellationToken) is { } user ? user
        : await FindsAsync(id, present, cancellationToken) ? null
        : throw new NotInPartsException(Why);

    private async Task<User?> AskAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            var user = await source.UserAsync(id, cancellationToken);
            if (user is not null)
            {
                _found.Add(Odd(id));
            }

            return user;
        }
        catch (RosterException e) when (NotInPartsException.IsRefusal(e) || e.Fault == RosterFault.NotARoster)
        {
            throw new NotInPartsException(Why, e);
        }
    }

    /// <summary>Whether the service finds somebody who is there and whose id is of the same kind.</summary>
    private async Task<bool> FindsAsync(string like, IEnumerable<User> present, CancellationToken cancellationToken)
    {
        var odd = Odd(like);
        bool IsLike(string other) => odd.All(other.Contains);
        if (_found.Any(IsLike))
        {
            return true;
        }

        var candidate = present
            .Where(u => u.Status == RecordStatus.Active)
            .Select(u => u.SourcedId)
            .OfType<string>()
            .FirstOrDefault(id => id != like && IsLike(id));
        candidate ??= (_listed ??= await ListAsync(cancellationToken)).Find(id => id != like && IsLike(id));
        return candidate is not null && await AskAsync(candidate, cancellationToken) is not null;
    }

    /// <summary>Some who are there.</summary>
    private async Task<List<string>> ListAsync(CancellationToken cancellationToken)
    {
        await foreach (var page in source.Users().ReadAsync(cancellationToken))
        {
            return [.. page.Records.Where(u => u.Status == RecordStatus.Active).Select(u => u.SourcedId).OfType<string>()];
        }

        return [];
    }

    private static string Odd(string id) => id.AsSpan().ContainsAny(s_odd) ? string.Concat(id.Where(s_odd.Contains).Distinct()) : "";
}
