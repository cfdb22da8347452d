using System.Data.Common;
using System.Globalization;
using Microsoft.AspNetCore.Identity;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.SignIn;
using Rollcall.Storage;

namespace Rollcall.Server.Commands;

/// <summary>One thing that was looked at.</summary>
/// <param name="Check">What has to be true.</param>
/// <param name="Problems">Where it is not; empty when all is well.</param>
internal sealed record DatabaseFinding(string Check, IReadOnlyList<string> Problems);

/// <summary>Looks whether the database is whole and says of itself what it should. Writes nothing.</summary>
internal sealed class DatabaseCheck(RollcallDatabase database, Secrets secrets)
{
    private const int Shown = 20;

    /// <exception cref="RollcallException">The database cannot be reached at all.</exception>
    public async Task<IReadOnlyList<DatabaseFinding>> RunAsync(CancellationToken cancellationToken)
    {
        if (database.FilePath is { } file && !File.Exists(file))
        {
            throw new RollcallException($"There is no database {file} yet. Check --data; 'rollcall district add' makes one.");
        }

        return await GuardAsync(database, () => LookAsync(cancellationToken));
    }

    /// <summary>Turns the ways in which a database is out of reach into words.</summary>
    public static async Task<T> GuardAsync<T>(RollcallDatabase database, Func<Task<T>> work)
    {
        try
        {
            return await work();
        }
        catch (Exception e) when (e is not RollcallException && DatabaseErrors.IsFault(e))
        {
            throw new RollcallException(
                database.IsPostgres
                    ? RollcallDatabase.InWords(e)
                    : $"The database {database.FilePath} cannot be used: {e.Message} Check the file and its rights, or restore a backup.",
                e
            );
        }
    }

    private async Task<IReadOnlyList<DatabaseFinding>> LookAsync(CancellationToken cancellationToken)
    {
        var findings = new List<DatabaseFinding>();
        await using var context = database.CreateContext().AllowLong();
        if (!database.IsPostgres)
        {
            findings.Add(
                new(
                    "The file is whole (integrity check of SQLite)",
                    [.. (await ColumnAsync("PRAGMA integrity_check", 0, cancellationToken)).Where(l => l != "ok").Take(Shown)]
                )
            );
        }

        var pending = await database.PendingMigrationsAsync(cancellationToken);
        findings.Add(new("The schema is this version's", [.. pending.Select(p => $"{p} is missing: run 'rollcall db migrate'")]));
        if (pending.Count > 0)
        {
            return findings;
        }

        if (database.IsPostgres)
        {
            findings.Add(
                new(
                    "This user sees the rows of every district",
                    await database.StrangerAsync(cancellationToken) is { } stranger ? [stranger] : []
                )
            );
        }

        await NameDistrictsAsync(context, cancellationToken);
        findings.Add(
            new(
                "Every barcode is one patron's",
                await RowsAsync(
                    "SELECT district_id, barcode_key, COUNT(*) FROM patrons GROUP BY district_id, barcode_key HAVING COUNT(*) > 1",
                    r => $"{Name(r[0])}: barcode {r[1]} {r[2]} times",
                    cancellationToken
                )
            )
        );
        findings.Add(
            new(
                "Every GUID is one patron's",
                await RowsAsync(
                    "SELECT district_id, guid, COUNT(*) FROM patrons WHERE guid IS NOT NULL GROUP BY district_id, guid HAVING COUNT(*) > 1",
                    r => $"{Name(r[0])}: GUID {r[1]} {r[2]} times",
                    cancellationToken
                )
            )
        );
        findings.Add(new("Every further GUID is one patron's, and no other patron's GUID", await AliasesAsync(context, cancellationToken)));
        findings.Add(
            new(
                "The numbers of new patrons are behind those there are",
                await RowsAsync(
                    "SELECT d.id, d.next_patron_id, MAX(p.id) FROM districts d JOIN patrons p ON p.district_id = d.id GROUP BY d.id, d.next_patron_id HAVING MAX(p.id) >= d.next_patron_id",
                    r => $"{Name(r[0])}: the next patron would be number {r[1]}, and there is a number {r[2]}",
                    cancellationToken
                )
            )
        );
        findings.Add(
            new(
                "Every link has its patron",
                await RowsAsync(
                    "SELECT l.district_id, l.patron_id FROM patron_links l LEFT JOIN patrons p ON p.district_id = l.district_id AND p.id = l.patron_id WHERE p.id IS NULL",
                    r => $"{Name(r[0])}: a link of patron {r[1]}, who is not there",
                    cancellationToken
                )
            )
        );
        findings.Add(
            new(
                "Every patron's site is there",
                await RowsAsync(
                    "SELECT p.district_id, p.barcode, p.site_id FROM patrons p LEFT JOIN sites s ON s.district_id = p.district_id AND s.id = p.site_id WHERE p.site_id IS NOT NULL AND s.id IS NULL",
                    r => $"{Name(r[0])}: the patron with barcode {r[1]} is of site {r[2]}, which is not there",
                    cancellationToken
                )
            )
        );
        findings.Add(
            new(
                "This machine knows every district's time zone",
                [
                    .. (await context.Districts.AsNoTracking().OrderBy(d => d.Id).ToListAsync(cancellationToken))
                        .Where(d => !d.KnowsZone(out _))
                        .Select(d =>
                            $"{Name(d.Id)}: {d.TimeZone} is not known here, so its clock is UTC. Install the system's time zone data (tzdata), or set another zone"
                        )
                        .Take(Shown),
                ]
            )
        );
        findings.Add(new("At most one roster service of a district is on", await EnabledAsync(context, cancellationToken)));
        findings.Add(new("The outcomes of every operation add up to the people read", await CountsAsync(context, cancellationToken)));
        findings.Add(new("Stored secrets can be read with this installation's master key", await SecretsAsync(context, cancellationToken)));
        return findings;
    }

    private Dictionary<int, string> _names = [];

    private async Task NameDistrictsAsync(RollcallContext context, CancellationToken cancellationToken) =>
        _names = await context
            .Districts.AsNoTracking()
            .ToDictionaryAsync(d => d.Id, d => $"District {d.Code} ({d.Name})", cancellationToken);

    /// <summary>A district as people know it; one that is not there, by its number.</summary>
    private string Name(int id) => _names.GetValueOrDefault(id) ?? $"District number {id}, which is not there";

    private string Name(string? id) => Name(int.Parse(id!, CultureInfo.InvariantCulture));

    private async Task<IReadOnlyList<string>> AliasesAsync(RollcallContext context, CancellationToken cancellationToken)
    {
        var problems = new List<string>();
        var holders = new Dictionary<(int District, string Id), long>();
        var links = context.PatronLinks.AsNoTracking().Where(l => l.Aliases != null).OrderBy(l => l.DistrictId).ThenBy(l => l.PatronId);
        await foreach (var link in links.AsAsyncEnumerable().WithCancellation(cancellationToken))
        {
            foreach (var id in link.Aliases!.Split('\n', StringSplitOptions.RemoveEmptyEntries).Distinct(StringComparer.Ordinal))
            {
                if (!holders.TryAdd((link.DistrictId, id), link.PatronId))
                {
                    problems.Add(
                        $"{Name(link.DistrictId)}: {id} is a further GUID of patrons {holders[(link.DistrictId, id)]} and {link.PatronId}"
                    );
                }
            }
        }

        foreach (var some in holders.Chunk(500))
        {
            var ids = some.Select(h => h.Key.Id).ToArray();
            foreach (
                var patron in await context
                    .Patrons.AsNoTracking()
                    .Where(p => p.Guid != null && ids.Contains(p.Guid))
                    .Select(p => new
                    {
                        p.DistrictId,
                        p.Id,
                        Guid = p.Guid!,
                    })
                    .ToListAsync(cancellationToken)
            )
            {
                if (holders.TryGetValue((patron.DistrictId, patron.Guid), out var holder) && holder != patron.Id)
                {
                    problems.Add(
                        $"{Name(patron.DistrictId)}: {patron.Guid} is the GUID of patron {patron.Id} and a further one of patron {holder}"
                    );
                }
            }
        }

        return [.. problems.Take(Shown)];
    }

    private async Task<IReadOnlyList<string>> EnabledAsync(RollcallContext context, CancellationToken cancellationToken)
    {
        var enabled = await context
            .Integrations.AsNoTracking()
            .Where(i => i.Enabled)
            .Select(i => new { i.DistrictId, i.Kind })
            .ToListAsync(cancellationToken);
        return
        [
            .. enabled
                .GroupBy(i => i.DistrictId)
                .Where(g => g.Count() > 1)
                .Select(g => $"{Name(g.Key)}: {string.Join(" and ", g.Select(i => i.Kind))} are on"),
        ];
    }

    private static async Task<IReadOnlyList<string>> CountsAsync(RollcallContext context, CancellationToken cancellationToken)
    {
        var problems = new List<string>();
        var operations = context
            .Operations.AsNoTracking()
            .Where(o => o.Kind == OperationKind.FullSync || o.Kind == OperationKind.ChangesSync || o.Kind == OperationKind.Import)
            .Where(o => o.Planned)
            .OrderBy(o => o.Id);
        await foreach (var operation in operations.AsAsyncEnumerable().WithCancellation(cancellationToken))
        {
            var counts = OperationQueue.CountsOf(operation);
            if (!counts.AddUp && problems.Count < Shown)
            {
                problems.Add($"Operation {operation.Id}: {Totals.Sentence(operation)}");
            }
        }

        return problems;
    }

    private async Task<IReadOnlyList<string>> SecretsAsync(RollcallContext context, CancellationToken cancellationToken) =>
        [.. (await UnreadableAsync(context, cancellationToken)).Select(u => $"{u.What}: {u.Why}")];

    /// <summary>What cannot be read with the master key that is here.</summary>
    internal async Task<IReadOnlyList<string>> UnreadableAsync(CancellationToken cancellationToken)
    {
        await using var context = database.CreateContextAsOwner();
        return [.. (await UnreadableAsync(context, cancellationToken)).Select(u => u.What)];
    }

    private async Task<List<(string What, string Why)>> UnreadableAsync(RollcallContext context, CancellationToken cancellationToken)
    {
        var problems = new List<(string, string)>();
        await NameDistrictsAsync(context, cancellationToken);
        foreach (var integration in await context.Integrations.AsNoTracking().Where(i => i.Secret != null).ToListAsync(cancellationToken))
        {
            Try(integration.DistrictId, integration.Secret!, $"{Name(integration.DistrictId)}, {integration.Kind}");
        }

        foreach (var setting in await context.InstallationSettings.AsNoTracking().ToListAsync(cancellationToken))
        {
            var secret = setting.Key switch
            {
                RosterConnections.PartnerKeySetting => setting.Value,
                ClassLinkSignIn.ClientSetting => ClassLinkSignIn.ClientOf(setting.Value)?.Secret,
                _ => null,
            };
            if (!string.IsNullOrEmpty(secret))
            {
                Try(0, secret, setting.Key);
            }
        }

        foreach (var notice in await context.NoticeSettings.AsNoTracking().ToListAsync(cancellationToken))
        {
            if (notice.WebhookSecret is { } secret)
            {
                Try(notice.DistrictId, secret, $"{Name(notice.DistrictId)}, webhook");
            }
        }

        var factors = await context
            .Set<IdentityUserToken<long>>()
            .AsNoTracking()
            .Where(t => t.Name == "AuthenticatorKey" && t.Value != null)
            .Join(context.Accounts.Where(a => a.TwoFactorEnabled), t => t.UserId, a => a.Id, (t, a) => new { a.Email, t.Value })
            .OrderBy(f => f.Email)
            .ToListAsync(cancellationToken);
        foreach (var factor in factors)
        {
            Try(0, factor.Value!, $"Second factor of {factor.Email} ('rollcall account drop-second-factor' takes it away)");
        }

        return problems;

        void Try(int districtId, string stored, string whose)
        {
            try
            {
                secrets.Unprotect(districtId, stored);
            }
            catch (RollcallException e)
            {
                problems.Add((whose, e.Message));
            }
        }
    }

    private async Task<List<string>> RowsAsync(string sql, Func<string?[], string> say, CancellationToken cancellationToken)
    {
        var problems = new List<string>();
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var command = connection.CreateCommand().AllowLong();
        command.CommandText = sql + $" LIMIT {Shown}";
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        while (await reader.ReadAsync(cancellationToken))
        {
            problems.Add(
                say([
                    .. Enumerable
                        .Range(0, reader.FieldCount)
                        .Select(i => reader.IsDBNull(i) ? null : Convert.ToString(reader.GetValue(i), CultureInfo.InvariantCulture)),
                ])
            );
        }

        return problems;
    }

    private async Task<List<string>> ColumnAsync(string sql, int column, CancellationToken cancellationToken)
    {
        var values = new List<string>();
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var command = connection.CreateCommand();
        command.CommandText = sql;
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        while (await reader.ReadAsync(cancellationToken))
        {
            values.Add(reader.GetString(column));
        }

        return values;
    }
}
