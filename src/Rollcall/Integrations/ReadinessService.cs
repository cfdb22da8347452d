using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Logging;
using Rollcall.Districts;
using Rollcall.Mapping;
using Rollcall.OneRoster.Model;
using Rollcall.Patrons;
using Rollcall.Storage;

namespace Rollcall.Integrations;

/// <summary>How many of a value there are.</summary>
public sealed record Tally(string Value, int Count, string? Example = null);

/// <summary>What a first sync would meet: counts alone, no names.</summary>
public sealed record Readiness
{
    public required int Patrons { get; init; }
    public required int PatronsWithStudentNumber { get; init; }
    public required int PatronsWithEmail { get; init; }
    public required int PatronsWithGuid { get; init; }
    public required int RosterPeople { get; init; }
    public required IReadOnlyDictionary<string, int> RosterByRole { get; init; }
    public required int RosterWithEmail { get; init; }
    public required int RosterWithIdentifier { get; init; }
    public required int RosterWithoutOrg { get; init; }
    public required int MatchByGuid { get; init; }

    /// <summary>By each id of the roster that could be mapped: how many equal a Student # here, and how many equal a barcode here.</summary>
    public required IReadOnlyList<ReadinessKey> Keys { get; init; }
    public required int MatchByEmail { get; init; }
    public required IReadOnlyList<Tally> Grades { get; init; }
    public required IReadOnlyList<Tally> Orgs { get; init; }
}

/// <summary>One id of the roster against the library's numbers.</summary>
/// <param name="Source">As <c>map</c> takes it: <c>user-id:TYPE</c>, <c>identifier</c>, <c>username</c>.</param>
/// <param name="People">Roster people who have it.</param>
/// <param name="Example">One value.</param>
/// <param name="StudentNumbers">Equal to a Student # here.</param>
/// <param name="Barcodes">Equal to a barcode here.</param>
/// <param name="NearMisses">Equal to neither, but equal to a Student # or barcode without leading zeros and inner blanks.</param>
public sealed record ReadinessKey(string Source, int People, string? Example, int StudentNumbers, int Barcodes, int NearMisses);

/// <summary>Looks at roster and library before the first sync. Writes nothing.</summary>
public sealed class ReadinessService(
    RollcallDatabase database,
    IntegrationService integrations,
    TimeProvider time,
    ILogger<ReadinessService> logger
)
{
    /// <summary>Stands among the grades for people who have none.</summary>
    public const string NoGrade = "(none)";

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    /// <summary>So long an answer is shown without asking again: reading a whole roster takes its time.</summary>
    public static readonly TimeSpan Kept = TimeSpan.FromMinutes(15);

    /// <summary>Looks, and keeps the answer for a while, for whoever asks on any node.</summary>
    /// <param name="district">The district.</param>
    /// <param name="kind">The service.</param>
    /// <param name="report">Hears how many users are read, and of how many where that is known; null for nobody.</param>
    /// <param name="behind">The operation that it is read for, with the fence by which it is this worker's; null for none.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="RollcallException">The settings were changed meanwhile: what was read is of others.</exception>
    public async Task<Readiness> ReadAsync(
        District district,
        IntegrationKind kind,
        Func<long, long?, ValueTask>? report = null,
        (long Id, long Fence)? behind = null,
        CancellationToken cancellationToken = default
    )
    {
        var before = await integrations.FindAsync(district.Id, kind, cancellationToken);
        var read = await CheckAsync(district, kind, report, cancellationToken);
        await using var work = await DistrictTransaction.BeginAsync(database, district.Id, cancellationToken);
        if (behind is (var id, var fence))
        {
            // Whoever was taken over from keeps nothing: another worker may have read something newer.
            await Operations.OperationQueue.EnsureMineAsync(work.Connection, work.Transaction, id, fence, cancellationToken);
        }

        var row = await work.Context.Integrations.SingleOrDefaultAsync(
            i => i.DistrictId == district.Id && i.Kind == kind,
            cancellationToken
        );
        if (row is null || row.Settings != before?.Settings)
        {
            throw new RollcallException("The settings were changed while the roster was read. Read it again.");
        }

        Put(row, new KeptReadiness(time.GetUtcNow(), Print(row), read));
        await work.CommitAsync(cancellationToken);
        return read;
    }

    /// <summary>The answer that is kept, for one connection, its roles and its mapping; null when there is none, or it is too old.</summary>
    public Readiness? KeptOf(Integration? row) =>
        row is not null && IntegrationService.StateOf(row).Readiness is { } kept && IsFresh(kept) && kept.Settings == Print(row)
            ? kept.Value
            : null;

    /// <summary>Takes answers away that have had their time: they have ids of people as examples.</summary>
    public async Task TidyAsync(CancellationToken cancellationToken = default)
    {
        List<District> districts;
        await using (var context = database.CreateContextAsOwner())
        {
            districts = await context
                .Districts.AsNoTracking()
                .Where(d => context.Integrations.Any(i => i.DistrictId == d.Id && i.State.Contains("\"readiness\":{")))
                .OrderBy(d => d.Id)
                .ToListAsync(cancellationToken);
        }

        await EveryDistrict.DoAsync(districts, d => d, TidyAsync, logger, "what readiness checks have left", cancellationToken);

        async Task TidyAsync(District district)
        {
            await using var work = await DistrictTransaction.BeginAsOwnerAsync(database, district.Id, cancellationToken);
            foreach (var row in await work.Context.Integrations.Where(i => i.DistrictId == district.Id).ToListAsync(cancellationToken))
            {
                if (IntegrationService.StateOf(row).Readiness is { } kept && !IsFresh(kept))
                {
                    Forget(row);
                }
            }

            await work.CommitAsync(cancellationToken);
        }
    }

    /// <summary>A clock that was ahead keeps nothing for longer.</summary>
    private bool IsFresh(KeptReadiness kept) => (time.GetUtcNow() - kept.At).Duration() < Kept;

    /// <summary>Takes the answer out of a row.</summary>
    internal static void Forget(Integration row)
    {
        if (IntegrationService.StateOf(row).Readiness is not null)
        {
            Put(row, null);
        }
    }

    private static void Put(Integration row, KeptReadiness? kept) =>
        row.State = JsonSerializer.Serialize(IntegrationService.StateOf(row) with { Readiness = kept }, IntegrationService.Json);

    private static string Print(Integration row) =>
        Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(row.Settings)));

    /// <summary>Looks, and keeps nothing.</summary>
    public async Task<Readiness> CheckAsync(
        District district,
        IntegrationKind kind,
        Func<long, long?, ValueTask>? report = null,
        CancellationToken cancellationToken = default
    )
    {
        var settings = IntegrationService.SettingsOf(await integrations.FindAsync(district.Id, kind, cancellationToken));
        var roles = settings.Roles.Count > 0 ? settings.Roles : [RoleGroup.Student, RoleGroup.Teacher, RoleGroup.Admin];
        var today = DistrictService.Today(district, time);
        var library = await LibraryAsync(district.Id, cancellationToken);

        var ids = new Dictionary<string, KeyTally>(StringComparer.OrdinalIgnoreCase);
        var byRole = new Dictionary<string, int>(StringComparer.Ordinal);
        var grades = new Dictionary<string, int>(StringComparer.Ordinal);
        var orgs = new Dictionary<string, int>(StringComparer.Ordinal);
        int people = 0,
            withEmail = 0,
            withIdentifier = 0,
            withoutOrg = 0,
            byGuid = 0,
            byEmail = 0;
        using var source = await integrations.OpenAsync(district.Id, kind, cancellationToken);
        var walk = source.Users();
        var attempt = 1;
        await foreach (var page in walk.ReadAsync(cancellationToken))
        {
            if (page.Attempt != attempt)
            {
                attempt = page.Attempt;
                ids.Clear();
                byRole.Clear();
                grades.Clear();
                orgs.Clear();
                people = withEmail = withIdentifier = withoutOrg = byGuid = byEmail = 0;
            }

            foreach (var user in page.Records)
            {
                var standing = RoleGroups.StandingOf(user, roles, today);
                if (!standing.Ticked || standing.Ended || user.Status == RecordStatus.ToBeDeleted)
                {
                    continue;
                }

                people++;
                Add(byRole, standing.Group.ToString().ToLowerInvariant());
                byGuid += user.SourcedId is not null && library.Guids.Contains(user.SourcedId) ? 1 : 0;
                if (Text.EmailKey(user.Email) is { } email)
                {
                    withEmail++;
                    byEmail += library.Emails.Contains(email) ? 1 : 0;
                }

                withIdentifier += Text.Clean(user.Identifier) is null ? 0 : 1;
                See(ids, library, "identifier", user.Identifier);
                See(ids, library, "username", user.Username);
                foreach (var id in user.UserIds ?? [])
                {
                    See(ids, library, $"user-id:{id.Type}", id.Identifier);
                }

                Add(grades, user.Grades is [var first, ..] && Text.Clean(first) is { } grade ? grade : NoGrade);
                if (user.Roles.FirstOrDefault(r => r.Org is not null).Org is { } org)
                {
                    Add(orgs, org);
                }
                else
                {
                    withoutOrg++;
                }
            }

            if (report is not null)
            {
                await report(page.RowsSoFar, page.Total);
            }
        }

        var names = (await integrations.ReadOrgsAsync(district.Id, kind, cancellationToken)).ToDictionary(
            o => o.SourcedId!,
            o => o.Name,
            StringComparer.Ordinal
        );
        return new Readiness
        {
            Patrons = library.Patrons,
            PatronsWithStudentNumber = library.WithStudentNumber,
            PatronsWithEmail = library.WithEmail,
            PatronsWithGuid = library.Guids.Count,
            RosterPeople = people,
            RosterByRole = byRole,
            RosterWithEmail = withEmail,
            RosterWithIdentifier = withIdentifier,
            RosterWithoutOrg = withoutOrg,
            MatchByGuid = byGuid,
            MatchByEmail = byEmail,
            Keys =
            [
                .. ids.OrderByDescending(i => i.Value.StudentNumbers + i.Value.Barcodes)
                    .ThenByDescending(i => i.Value.People)
                    .Select(i => i.Value.ToKey(i.Key)),
            ],
            Grades = [.. grades.OrderBy(g => g.Key, StringComparer.Ordinal).Select(g => new Tally(g.Key, g.Value))],
            Orgs = [.. orgs.OrderByDescending(o => o.Value).Select(o => new Tally(o.Key, o.Value, names.GetValueOrDefault(o.Key)))],
        };
    }

    /// <summary>The types of ids that the first people have whom a roster service gives, and how many were looked at. Asked beside something else: where
    /// the service does not answer soon, or has to be read whole, nothing is known.</summary>
    public async Task<(IReadOnlySet<string> Types, int People)?> FirstIdTypesAsync(
        District district,
        IntegrationKind kind,
        CancellationToken cancellationToken = default
    )
    {
        if (kind is not (IntegrationKind.ClassLink or IntegrationKind.OneRoster))
        {
            return null;
        }

        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        patience.CancelAfter(s_patience);
        try
        {
            using var source = await integrations.OpenAsync(district.Id, kind, patience.Token);
            await foreach (var page in source.Users().ReadAsync(patience.Token))
            {
                return (
                    page.Records.SelectMany(u => u.UserIds ?? [])
                        .Where(i => Text.CleanKey(i.Identifier) is not null)
                        .Select(i => i.Type)
                        .ToHashSet(StringComparer.OrdinalIgnoreCase),
                    page.Records.Count
                );
            }

            return null;
        }
        catch (Exception e)
            when (e is RollcallException or OneRoster.RosterException
                || (e is OperationCanceledException && !cancellationToken.IsCancellationRequested)
            )
        {
            return null;
        }
    }

    private static void Add(Dictionary<string, int> tally, string key) => tally[key] = tally.GetValueOrDefault(key) + 1;

    private static void See(Dictionary<string, KeyTally> ids, Library library, string source, string? value)
    {
        if (Text.CleanKey(value) is not { } clean)
        {
            return;
        }

        if (!ids.TryGetValue(source, out var tally))
        {
            ids[source] = tally = new KeyTally { Example = clean };
        }

        tally.People++;
        var number = library.StudentNumbers.Contains(clean);
        var barcode = library.Barcodes.Contains(Text.BarcodeKey(clean));
        tally.StudentNumbers += number ? 1 : 0;
        tally.Barcodes += barcode ? 1 : 0;
        tally.NearMisses += !number && !barcode && library.Near.Contains(Near(clean)) ? 1 : 0;
    }

    private static string Near(string value) => value.Replace(" ", "", StringComparison.Ordinal).TrimStart('0').ToLowerInvariant();

    private async Task<Library> LibraryAsync(int districtId, CancellationToken cancellationToken)
    {
        var library = new Library();
        await using var context = database.CreateContext();
        var rows = context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == districtId)
            .Select(p => new
            {
                p.Guid,
                p.CommunityId,
                p.BarcodeKey,
                p.EmailKey,
            });
        await foreach (var row in rows.AsAsyncEnumerable().WithCancellation(cancellationToken))
        {
            library.Patrons++;
            library.Barcodes.Add(row.BarcodeKey);
            library.Near.Add(Near(row.BarcodeKey));
            if (row.Guid is not null)
            {
                library.Guids.Add(row.Guid);
            }

            if (Text.CleanKey(row.CommunityId) is { } number)
            {
                library.WithStudentNumber++;
                library.StudentNumbers.Add(number);
                library.Near.Add(Near(number));
            }

            if (row.EmailKey is not null)
            {
                library.WithEmail++;
                library.Emails.Add(row.EmailKey);
            }
        }

        library.Near.Remove("");
        return library;
    }

    private sealed class Library
    {
        public int Patrons { get; set; }
        public int WithStudentNumber { get; set; }
        public int WithEmail { get; set; }
        public HashSet<string> Guids { get; } = new(StringComparer.Ordinal);
        public HashSet<string> StudentNumbers { get; } = new(StringComparer.Ordinal);
        public HashSet<string> Barcodes { get; } = new(StringComparer.Ordinal);
        public HashSet<string> Emails { get; } = new(StringComparer.Ordinal);
        public HashSet<string> Near { get; } = new(StringComparer.Ordinal);
    }

    private sealed class KeyTally
    {
        public int People { get; set; }
        public string? Example { get; init; }
        public int StudentNumbers { get; set; }
        public int Barcodes { get; set; }
        public int NearMisses { get; set; }

        public ReadinessKey ToKey(string source) => new(source, People, Example, StudentNumbers, Barcodes, NearMisses);
    }
}
