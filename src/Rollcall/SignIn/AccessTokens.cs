using System.Globalization;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.SignIn;

/// <summary>What a token that came with a request may do now.</summary>
/// <param name="TokenId">Which.</param>
/// <param name="Name">What it is called.</param>
/// <param name="DistrictId">Its district; null for the operator's.</param>
/// <param name="Group">Its security group there.</param>
/// <param name="Scopes">What it may be used for.</param>
/// <param name="ExpiresAt">When it ends by itself.</param>
/// <param name="AccountId">The account that made it; null for patrons and the command line.</param>
/// <param name="PatronId">The patron who made it; null for accounts and the command line.</param>
/// <param name="IsChild">A token made it: it makes none itself.</param>
public sealed record TokenGrant(
    long TokenId,
    string Name,
    int? DistrictId,
    SecurityGroup Group,
    TokenScopes Scopes,
    DateTimeOffset ExpiresAt,
    long? AccountId,
    long? PatronId,
    bool IsChild
)
{
    /// <summary>
    /// As operations and the audit name it, and what it may do to records. Whose group or roster identity it sets signs in with those rights: so
    /// only one that has all of a district's does what a District Administrator alone does there.
    /// </summary>
    public Actor Actor =>
        new(
            AccessTokens.ActorName(Name, TokenId),
            Group > SecurityGroup.LibraryAdministrator && !Scopes.HasFlag(AccessTokens.AllOfDistrict)
                ? SecurityGroup.LibraryAdministrator
                : Group
        )
        {
            PatronId = PatronId,
        };
}

/// <summary>
/// Access tokens of programs. A token is shown once, when it is made; what is kept is its hash. It never does more than whoever made it: their
/// group is looked up for each request, and where they are gone, the token is.
/// </summary>
public sealed class AccessTokens(RollcallDatabase database, TimeProvider time)
{
    /// <summary>In front of every token, so that scanners of code and logs know one.</summary>
    public const string Prefix = "rollcall_";

    /// <summary>The longest that a token may live.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromDays(366);

    private const int LongestName = 100;
    private static readonly TimeSpan s_usedEvery = TimeSpan.FromMinutes(1);

    /// <summary>The scopes of a district's token, with the words for them.</summary>
    public static readonly IReadOnlyList<(TokenScopes Scope, string Word, string Meaning)> Words =
    [
        (TokenScopes.PatronsRead, "patrons:read", "Read patrons, their history and explanation"),
        (TokenScopes.PatronsWrite, "patrons:write", "Add, change, merge and import patrons"),
        (TokenScopes.OperationsRead, "operations:read", "Read operations and their logs"),
        (TokenScopes.OperationsWrite, "operations:write", "Start, cancel, approve, discard and undo operations"),
        (TokenScopes.ReviewRead, "review:read", "Read who waits in Review"),
        (TokenScopes.ReviewWrite, "review:write", "Decide on people in Review"),
        (TokenScopes.PreferencesRead, "preferences:read", "Read sites and integrations"),
        (TokenScopes.PreferencesWrite, "preferences:write", "Change sites and integrations"),
        (TokenScopes.AuditRead, "audit:read", "Read who did what"),
        (TokenScopes.AccountsRead, "accounts:read", "Read accounts and access tokens"),
        (TokenScopes.AccountsWrite, "accounts:write", "Add and end accounts and access tokens, never with more rights than its own"),
        (TokenScopes.Installation, "installation", "Districts and tenants; for an operator's token alone"),
    ];

    /// <summary>The words of scopes, in order.</summary>
    public static IEnumerable<string> WordsOf(TokenScopes scopes) => Words.Where(w => scopes.HasFlag(w.Scope)).Select(w => w.Word);

    /// <summary>The scopes that words mean. <c>all</c> is all of a district.</summary>
    /// <exception cref="RollcallException">A word means none.</exception>
    public static TokenScopes Parse(IEnumerable<string> words)
    {
        var scopes = TokenScopes.None;
        foreach (var word in words.SelectMany(w => w.Split([',', ' '], StringSplitOptions.RemoveEmptyEntries)))
        {
            scopes |=
                string.Equals(word, "all", StringComparison.OrdinalIgnoreCase) ? AllOfDistrict
                : Words.FirstOrDefault(w => string.Equals(w.Word, word, StringComparison.OrdinalIgnoreCase)) is { Word: not null } found
                    ? found.Scope
                : throw RollcallException.OfValue(
                    $"'{Text.Cut(word, 40)}' is no scope. Scopes are: {string.Join(", ", Words.Select(w => w.Word))}, or all."
                );
        }

        return scopes;
    }

    /// <summary>All that a district's token can be for.</summary>
    public static TokenScopes AllOfDistrict => Words.Aggregate(TokenScopes.None, (all, w) => all | w.Scope) & ~TokenScopes.Installation;

    /// <summary>Makes a token.</summary>
    /// <param name="district">The district that it opens; null makes an operator's token.</param>
    /// <param name="name">What it is for.</param>
    /// <param name="group">Library Administrator or District Administrator; never above the actor.</param>
    /// <param name="scopes">What it may be used for.</param>
    /// <param name="lives">How long.</param>
    /// <param name="actor">Who makes it.</param>
    /// <param name="accountId">Their account; null for patrons and the command line.</param>
    /// <param name="patronId">Their patron; null for accounts and the command line.</param>
    /// <param name="by">The token that makes it: it hands on no more than it has, and for no longer. Null for people and the command line.</param>
    /// <param name="session">The session that it is made in, if it is made in one: it has to be open still.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The row, and the token itself: it is never to be had again.</returns>
    /// <exception cref="RollcallException">A value does not fit, or is above the actor; nothing was made.</exception>
    public async Task<(AccessToken Row, string Token)> CreateAsync(
        District? district,
        string? name,
        SecurityGroup group,
        TokenScopes scopes,
        TimeSpan lives,
        Actor actor,
        long? accountId = null,
        long? patronId = null,
        TokenGrant? by = null,
        string? session = null,
        CancellationToken cancellationToken = default
    )
    {
        var clean =
            Text.Clean(name) ?? throw RollcallException.OfValue("Give the token a name that says what it is for, such as 'Catalogue'.");
        if (clean.Length > LongestName)
        {
            throw RollcallException.OfValue($"A token's name has at most {LongestName} characters.");
        }

        if (lives <= TimeSpan.Zero || lives > Longest)
        {
            throw RollcallException.OfValue($"A token lives for 1 to {Longest.TotalDays:0} days.");
        }

        if (district is null)
        {
            scopes = TokenScopes.Installation;
            group = SecurityGroup.PatronLimited;
        }
        else if (group is not (SecurityGroup.LibraryAdministrator or SecurityGroup.DistrictAdministrator))
        {
            throw RollcallException.OfValue("A token sees all sites: its group is Library Administrator or District Administrator.");
        }
        else if (group > actor.Right)
        {
            throw new RollcallException($"A token never does more than who makes it: at most {PatronFields.GroupWord(actor.Right)}.");
        }
        else if ((scopes & AllOfDistrict) == TokenScopes.None || (scopes & ~AllOfDistrict) != TokenScopes.None)
        {
            throw RollcallException.OfValue(
                $"Say what the token may be used for: {string.Join(", ", Words.Where(w => w.Scope != TokenScopes.Installation).Select(w => w.Word))}, or all."
            );
        }

        var now = time.GetUtcNow();
        if (by is not null)
        {
            if (by.IsChild)
            {
                throw new RollcallException(
                    "A token that was made by a token makes none itself. Use the first one, or let a person make it."
                );
            }

            if ((scopes & ~by.Scopes) != TokenScopes.None)
            {
                throw new RollcallException(
                    $"A token hands on no more than it has: it lacks {string.Join(", ", WordsOf(scopes & ~by.Scopes))}."
                );
            }

            if (now + lives > by.ExpiresAt)
            {
                throw new RollcallException(
                    $"A token hands on nothing for longer than it lives itself: until {by.ExpiresAt:yyyy-MM-dd HH:mm} UTC. Give fewer days."
                );
            }
        }

        var token = Prefix + Tokens.New();
        var row = new AccessToken
        {
            DistrictId = district?.Id,
            Name = clean,
            Hash = Tokens.Hash(token),
            Group = group,
            Scopes = scopes,
            CreatedBy = actor.Name,
            AccountId = accountId,
            PatronId = patronId,
            ParentId = by?.TokenId,
            CreatedAt = now,
            ExpiresAt = now + lives,
        };
        await using var context = database.CreateContextAsOwner();
        await using var transaction = await context.Database.BeginTransactionAsync(cancellationToken);
        if (accountId is { } maker)
        {
            await Accounts.HoldAsync(context, maker, cancellationToken);
        }

        // A request may take its time to arrive: whoever lost their place or their session meanwhile leaves no token behind. Who ends the session
        // waits here for the token that is being made in it.
        row.Stamp =
            patronId is { } own && district is not null
                ? Sessions.StampOf(
                    await context
                        .Patrons.Where(p => p.DistrictId == district.Id && p.Id == own)
                        .Select(p => p.Guid)
                        .SingleOrDefaultAsync(cancellationToken)
                )
                : null;
        if (
            (
                session is not null
                && await context
                    .SignInSessions.Where(s => s.Id == session)
                    .ExecuteUpdateAsync(s => s.SetProperty(x => x.SeenAt, x => x.SeenAt), cancellationToken) == 0
            )
            || (
                (accountId ?? patronId) is not null && (await MakerAsync(context, row, cancellationToken) is not { } right || right < group)
            )
        )
        {
            throw new RollcallException("You may not make this token any more. Sign in again and look what you may do.");
        }

        context.AccessTokens.Add(row);
        AddAudit(
            context,
            district?.Id ?? 0,
            now,
            actor.Name,
            $"'{clean}' made: {(district is null ? "operator" : PatronFields.GroupWord(group))}, {string.Join(", ", WordsOf(scopes))}, until {row.ExpiresAt:yyyy-MM-dd}"
        );
        await context.SaveChangesAsync(cancellationToken);
        await transaction.CommitAsync(cancellationToken);
        return (row, token);
    }

    /// <summary>The tokens of a district, or with null the operator's, the newest first; those that ended are among them.</summary>
    public async Task<IReadOnlyList<AccessToken>> ListAsync(int? districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await context
            .AccessTokens.AsNoTracking()
            .Where(t => t.DistrictId == districtId)
            .OrderByDescending(t => t.Id)
            .ToListAsync(cancellationToken);
    }

    /// <summary>How many tokens a district has had.</summary>
    public async Task<int> CountAsync(int districtId, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await context.AccessTokens.CountAsync(t => t.DistrictId == districtId, cancellationToken);
    }

    /// <summary>Whether a district has this token.</summary>
    public async Task<bool> HasAsync(int districtId, long id, CancellationToken cancellationToken = default)
    {
        await using var context = database.CreateContextAsOwner();
        return await context.AccessTokens.AnyAsync(t => t.DistrictId == districtId && t.Id == id, cancellationToken);
    }

    /// <summary>A district's tokens that fit, the newest first: read only as far as is wanted.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="fits">Whether one is wanted; null takes all.</param>
    /// <param name="before">Only those made before this one.</param>
    /// <param name="take">At most so many.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyList<AccessToken>> NextAsync(
        int districtId,
        Func<AccessToken, bool>? fits,
        long before,
        int take,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContextAsOwner();
        var all = context.AccessTokens.AsNoTracking().Where(t => t.DistrictId == districtId && t.Id < before).OrderByDescending(t => t.Id);
        if (fits is null)
        {
            return await all.Take(take).ToListAsync(cancellationToken);
        }

        // How words fit, whatever their accents, no database tells.
        var found = new List<AccessToken>();
        await foreach (var token in all.AsAsyncEnumerable().WithCancellation(cancellationToken))
        {
            if (fits(token))
            {
                found.Add(token);
                if (found.Count == take)
                {
                    break;
                }
            }
        }

        return found;
    }

    /// <summary>A page of a district's tokens.</summary>
    /// <param name="districtId">The district.</param>
    /// <param name="sort"><c>name</c>, <c>until</c>, <c>used</c>; everything else is by when they were made.</param>
    /// <param name="down">The other way round.</param>
    /// <param name="skip">Those of the pages before.</param>
    /// <param name="take">At most so many.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async Task<IReadOnlyList<AccessToken>> PageAsync(
        int districtId,
        string sort,
        bool down,
        int skip,
        int take,
        CancellationToken cancellationToken = default
    )
    {
        await using var context = database.CreateContextAsOwner();
        var all = context.AccessTokens.AsNoTracking().Where(t => t.DistrictId == districtId);
#pragma warning disable CA1304, CA1311, MA0011 // The database does it, and knows no culture.
        var sorted = (sort, down) switch
        {
            ("name", false) => all.OrderBy(t => t.Name.ToUpper()).ThenByDescending(t => t.Id),
            ("name", true) => all.OrderByDescending(t => t.Name.ToUpper()).ThenBy(t => t.Id),
            ("until", false) => all.OrderBy(t => t.ExpiresAt).ThenByDescending(t => t.Id),
            ("until", true) => all.OrderByDescending(t => t.ExpiresAt).ThenBy(t => t.Id),
            ("used", false) => all.OrderBy(t => t.LastUsedAt != null).ThenBy(t => t.LastUsedAt).ThenByDescending(t => t.Id),
            ("used", true) => all.OrderByDescending(t => t.LastUsedAt != null).ThenByDescending(t => t.LastUsedAt).ThenBy(t => t.Id),
            (_, false) => all.OrderBy(t => t.Id),
            _ => all.OrderByDescending(t => t.Id),
        };
#pragma warning restore CA1304, CA1311, MA0011
        return await sorted.Skip(skip).Take(take).ToListAsync(cancellationToken);
    }

    /// <summary>
    /// Why tokens open nothing, or less than they were made for, although nobody revoked them and their time is not over. Tokens that are good are
    /// not among them.
    /// </summary>
    public async Task<IReadOnlyDictionary<long, (bool Opens, string Why)>> LessAsync(
        IReadOnlyList<AccessToken> rows,
        CancellationToken cancellationToken = default
    )
    {
        var now = time.GetUtcNow();
        var less = new Dictionary<long, (bool Opens, string Why)>();
        await using var context = database.CreateContextAsOwner();
        foreach (var row in rows.Where(r => r.RevokedAt is null && r.ExpiresAt > now))
        {
            if (!await ParentServesAsync(context, row, now, cancellationToken))
            {
                less[row.Id] = (false, string.Create(CultureInfo.InvariantCulture, $"Ended with token {row.ParentId}, which made it"));
            }
            else if (await MakerAsync(context, row, cancellationToken) is not { } maker)
            {
                less[row.Id] = (
                    false,
                    await IsAnothersAsync(context, row, cancellationToken)
                        ? "Opens nothing: its maker's record has another id in the roster since. Make a new token"
                        : "Opens nothing while its maker may not come in"
                );
            }
            else if (maker < row.Group)
            {
                less[row.Id] = (true, $"At most {PatronFields.GroupWord(maker)}, as its maker is now");
            }
        }

        return less;
    }

    /// <summary>How many tokens of an account serve still, by district.</summary>
    public async Task<IReadOnlyDictionary<int, int>> OfAccountAsync(long accountId, CancellationToken cancellationToken = default)
    {
        var now = time.GetUtcNow();
        await using var context = database.CreateContextAsOwner();
        return await context
            .AccessTokens.Where(t => t.AccountId == accountId && t.RevokedAt == null && t.ExpiresAt > now && t.DistrictId != null)
            .GroupBy(t => t.DistrictId!.Value)
            .Select(g => new { g.Key, Count = g.Count() })
            .ToDictionaryAsync(g => g.Key, g => g.Count, cancellationToken);
    }

    /// <summary>
    /// Ends a token at once, those that it made, and the links that set a password which they got and nobody has used yet. Accounts stay: they
    /// are people's.
    /// </summary>
    /// <returns>Addresses of the accounts that they added to the district or changed the group of, and that are there still.</returns>
    /// <exception cref="RollcallException">There is no such token, or it has ended.</exception>
    public async Task<IReadOnlyList<string>> RevokeAsync(
        int? districtId,
        long id,
        string actor,
        CancellationToken cancellationToken = default
    )
    {
        var now = time.GetUtcNow();
        await using var context = database.CreateContextAsOwner();
        var row =
            await context.AccessTokens.SingleOrDefaultAsync(t => t.Id == id && t.DistrictId == districtId, cancellationToken)
            ?? throw new RollcallException($"There is no token {id}. 'rollcall token list' shows those there are.");
        if (row.RevokedAt is not null)
        {
            throw new RollcallException($"Token {id} is revoked already.");
        }

        row.RevokedAt = now;
        AddAudit(context, districtId ?? 0, now, actor, $"'{row.Name}' (token {id}) revoked");
        var (touched, added) = await AccountsOfAsync(context, row, cancellationToken);
        await context
            .OneTimeLinks.Where(l => l.Purpose == LinkPurpose.Password && touched.Contains(l.AccountId!.Value))
            .ExecuteDeleteAsync(cancellationToken);
        await context.SaveChangesAsync(cancellationToken);

        // Nobody can ask for their answers any more.
        await context
            .IdempotentRequests.Where(r => r.TokenId == id || context.AccessTokens.Any(t => t.Id == r.TokenId && t.ParentId == id))
            .ExecuteDeleteAsync(cancellationToken);
        return added;
    }

    /// <summary>
    /// Ends the tokens that an account made, and those that these made, for it may come in again one day: in a district, or with null everywhere.
    /// The caller saves.
    /// </summary>
    /// <returns>How many.</returns>
    internal static async Task<int> RevokeOfAccountAsync(
        RollcallContext context,
        long accountId,
        int? districtId,
        string actor,
        DateTimeOffset now,
        CancellationToken cancellationToken
    )
    {
        var rows = await context
            .AccessTokens.Where(t => t.AccountId == accountId && t.RevokedAt == null && t.ExpiresAt > now)
            .Where(t => districtId == null || t.DistrictId == districtId)
            .ToListAsync(cancellationToken);
        foreach (var row in rows)
        {
            row.RevokedAt = now;
            AddAudit(context, row.DistrictId ?? 0, now, actor, $"'{row.Name}' (token {row.Id}) revoked, with the account that made it");
            var (touched, _) = await AccountsOfAsync(context, row, cancellationToken);
            await context
                .OneTimeLinks.Where(l => l.Purpose == LinkPurpose.Password && touched.Contains(l.AccountId!.Value))
                .ExecuteDeleteAsync(cancellationToken);
            await context.IdempotentRequests.Where(r => r.TokenId == row.Id).ExecuteDeleteAsync(cancellationToken);
        }

        return rows.Count;
    }

    /// <summary>What a token and those that it made did with accounts, as the audit has it: that is also what says so years later.</summary>
    /// <returns>The accounts that they did anything with, and the addresses of those that they added or changed.</returns>
    private static async Task<(List<long> Touched, List<string> Added)> AccountsOfAsync(
        RollcallContext context,
        AccessToken row,
        CancellationToken cancellationToken
    )
    {
        if (row.DistrictId is not { } district)
        {
            // An operator's token opens no accounts.
            return ([], []);
        }

        var actors = (
            await context
                .AccessTokens.AsNoTracking()
                .Where(t => t.Id == row.Id || t.ParentId == row.Id)
                .Select(t => new { t.Id, t.Name })
                .ToListAsync(cancellationToken)
        ).ConvertAll(t => ActorName(t.Name, t.Id));
        var lines = await context
            .AuditEntries.AsNoTracking()
            .Where(a => a.DistrictId == district && a.Action == Accounts.AuditAction && actors.Contains(a.Actor))
            .Select(a => a.Details)
            .ToListAsync(cancellationToken);
        if (lines.Count == 0)
        {
            return ([], []);
        }

        var here = await context
            .Accounts.AsNoTracking()
            .Where(a => context.Memberships.Any(m => m.DistrictId == district && m.AccountId == a.Id))
            .Select(a => new { a.Id, Email = a.Email! })
            .ToListAsync(cancellationToken);
        var touched = here.Where(a => lines.Exists(l => l.StartsWith($"{a.Email}: ", StringComparison.OrdinalIgnoreCase))).ToList();
        var groups = Enum.GetValues<SecurityGroup>().Select(PatronFields.GroupWord).ToList();
        return (
            touched.ConvertAll(a => a.Id),
            [
                .. touched
                    .Where(a => groups.Exists(g => lines.Exists(l => l.StartsWith($"{a.Email}: {g}", StringComparison.OrdinalIgnoreCase))))
                    .Select(a => a.Email)
                    .Order(StringComparer.OrdinalIgnoreCase),
            ]
        );
    }

    /// <summary>As operations and the audit name a token.</summary>
    internal static string ActorName(string name, long id) => $"{name} (token {id})";

    /// <summary>What this token may do now; null when it may do nothing (any more).</summary>
    public async Task<TokenGrant?> FindAsync(string token, CancellationToken cancellationToken = default)
    {
        if (!token.StartsWith(Prefix, StringComparison.Ordinal) || token.Length > 200)
        {
            return null;
        }

        var hash = Tokens.Hash(token);
        var now = time.GetUtcNow();
        await using var context = database.CreateContextAsOwner();
        var row = await context.AccessTokens.AsNoTracking().SingleOrDefaultAsync(t => t.Hash == hash, cancellationToken);
        if (row is null || row.RevokedAt is not null || row.ExpiresAt <= now)
        {
            return null;
        }

        if (!await ParentServesAsync(context, row, now, cancellationToken))
        {
            return null;
        }

        var maker = await MakerAsync(context, row, cancellationToken);
        if (maker is null)
        {
            return null;
        }

        if (row.LastUsedAt is null || row.LastUsedAt + s_usedEvery <= now)
        {
            await context
                .AccessTokens.Where(t => t.Id == row.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(t => t.LastUsedAt, now), cancellationToken);
        }

        var group = maker < row.Group ? maker.Value : row.Group;
        return new TokenGrant(
            row.Id,
            row.Name,
            row.DistrictId,
            group,
            row.Scopes,
            row.ExpiresAt,
            row.AccountId,
            row.PatronId,
            row.ParentId is not null
        );
    }

    /// <summary>The token that made this one has not ended; true for those that people made.</summary>
    private static async Task<bool> ParentServesAsync(
        RollcallContext context,
        AccessToken row,
        DateTimeOffset now,
        CancellationToken cancellationToken
    ) =>
        row.ParentId is not { } parent
        || await context.AccessTokens.AnyAsync(t => t.Id == parent && t.RevokedAt == null && t.ExpiresAt > now, cancellationToken);

    /// <summary>The right that whoever made the token has now; null when they have none.</summary>
    private async Task<SecurityGroup?> MakerAsync(RollcallContext context, AccessToken row, CancellationToken cancellationToken)
    {
        if (row.AccountId is { } accountId)
        {
            var account = await context.Accounts.AsNoTracking().SingleOrDefaultAsync(a => a.Id == accountId, cancellationToken);
            if (account is null || Accounts.IsLockedByHand(account, time.GetUtcNow()))
            {
                return null;
            }

            if (row.DistrictId is not { } district)
            {
                return account.IsOperator ? row.Group : null;
            }

            return (
                await context
                    .Memberships.AsNoTracking()
                    .SingleOrDefaultAsync(m => m.DistrictId == district && m.AccountId == accountId, cancellationToken)
            )?.Group;
        }

        if (row is { PatronId: { } patronId, DistrictId: { } home })
        {
            // Patrons come in by ClassLink alone: who could not any more has no program that goes on for them.
            // And it is that person's alone: a record that was linked to somebody else since does not act for the one before.
            return
                await Sessions.ComingInAsync(context, home, patronId, byClassLink: true, cancellationToken) is { } patron
                && (row.Stamp is null || row.Stamp == Sessions.StampOf(patron.Guid))
                ? patron.Group
                : null;
        }

        return row.Group;
    }

    /// <summary>The record that made the token is linked to another id of the roster by now.</summary>
    private static async Task<bool> IsAnothersAsync(RollcallContext context, AccessToken row, CancellationToken cancellationToken) =>
        row is { PatronId: { } patronId, DistrictId: { } home, Stamp: { } stamp }
        && await Sessions.ComingInAsync(context, home, patronId, byClassLink: true, cancellationToken) is { Guid: not null } patron
        && stamp != Sessions.StampOf(patron.Guid);

    private static void AddAudit(RollcallContext context, int districtId, DateTimeOffset now, string actor, string details) =>
        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = districtId,
                At = now,
                Actor = actor,
                Action = "token",
                Details = details,
            }
        );
}
