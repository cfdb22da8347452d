using System.Text;
using System.Text.Json;
using Microsoft.EntityFrameworkCore;
using Rollcall.Audit;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Retention;
using Rollcall.Review;
using Rollcall.Storage;
using Rollcall.Sync.Person;

namespace Rollcall.Patrons.Erasure;

/// <summary>Takes one person out of everything, in one transaction; then clears what deleted rows leave behind in the file. A crash in
/// between is taken up again: the person is gone, the clearing is left.</summary>
internal sealed class ErasureHandler(RollcallDatabase database, OperationQueue queue, TimeProvider time) : IOperationHandler
{
    private const int RoundsWithoutLock = 3;

    // A single letter is nobody's name; so much is it with a blank on either side.
    private const int LeastPadded = 3;

    // A line has its number before others see it: so many before the last one may not have been there yet.
    private const int LinesBeingWritten = 1000;

    public bool Handles(OperationKind kind) => kind == OperationKind.Erase;

    public async Task ExecuteAsync(OperationRun run, CancellationToken cancellationToken)
    {
        var operation = run.Operation;
        var asked = JsonSerializer.Deserialize<ErasureOptions>(operation.Options, OperationQueue.Json);
        if (asked is { Patrons.Length: > 0 } or { RosterIds.Length: > 0 })
        {
            await run.ReportAsync(OperationStage.Planning, "Looking everywhere for the person", 0, null);
            await EraseAsync(operation, asked, cancellationToken);
        }

        await run.ReportAsync(
            OperationStage.Applying,
            database.IsPostgres ? "Clearing deleted rows out of the tables" : "Clearing what deleted rows leave in the file",
            0,
            null
        );
        var warnings = new List<WarningGroup>();
        if (await database.ClearRemainsAsync(cancellationToken) is { } problem)
        {
            warnings.Add(
                new WarningGroup(
                    "remains",
                    database.IsPostgres
                        ? $"The person is in no row any more, but PostgreSQL did not clear deleted ones out of the tables: {problem}"
                        : $"The person is in no table any more, but the file could not be cleared of deleted rows: {problem}",
                    1,
                    database.IsPostgres ? "PostgreSQL does it by itself in time (autovacuum)." : "Make room, then run: rollcall db compact"
                )
            );
        }

        var copies = database.CopiesInDataFolder();
        if (copies.Count > 0)
        {
            warnings.Add(
                new WarningGroup(
                    "copies",
                    $"Backups in the data folder still hold this person: {string.Join(", ", copies.Take(5))}{(copies.Count > 5 ? " …" : "")}",
                    copies.Count,
                    "Delete them when you need them no more, and backups elsewhere; a restore of one brings the person back."
                )
            );
        }

        var counts = new SyncCounts
        {
            Read = 1,
            Removed = 1,
            Warnings = warnings.Sum(w => w.Count),
        };
        await queue.FinishAsync(
            operation,
            warnings.Count > 0 ? OperationStatus.CompletedWithWarnings : OperationStatus.Completed,
            counts,
            warnings,
            null,
            cancellationToken
        );
    }

    private async Task EraseAsync(Operation operation, ErasureOptions asked, CancellationToken cancellationToken)
    {
        var district = operation.DistrictId;
        Task<PersonRecord> ReadAsync(RollcallContext context) =>
            new PersonSearch(database.Bulk, context, district).FindAsync(asked.Patrons, asked.RosterIds, cancellationToken);
        for (var round = 1; ; round++)
        {
            // Reading takes its time and no lock. Then the same is read again under the lock, but only if something was written meanwhile.
            // Where something always is, the lock is taken first: others wait for once.
            Version? seen = null;
            PersonRecord? person = null;
            if (round <= RoundsWithoutLock)
            {
                await using var context = database.CreateContext().AllowLong();
                seen = await VersionAsync(context, district, asked, cancellationToken);
                person = await ReadAsync(context);
            }

            await using var work = await DistrictTransaction.BeginAsync(database, district, cancellationToken);
            work.Context.AllowLong();
            var now = await VersionAsync(work.Context, district, asked, cancellationToken);
            if (person is null || seen is null)
            {
                (seen, person) = (now, await ReadAsync(work.Context));
            }
            else if (now with { SignIn = seen.SignIn } != seen)
            {
                continue;
            }

            await OperationQueue.EnsureMineAsync(work.Connection, work.Transaction, operation.Id, operation.Fence, cancellationToken);
            await EnsureNotMergedAsync(work.Context, operation, asked, cancellationToken);
            await TakeOutAsync(work.Context, operation, person, seen.SignIn, cancellationToken);
            await work.CommitAsync(cancellationToken);
            return;
        }
    }

    /// <summary>Whoever was merged while this waited goes on in another record, which nobody has looked at.</summary>
    private static async Task EnsureNotMergedAsync(
        RollcallContext context,
        Operation operation,
        ErasureOptions asked,
        CancellationToken cancellationToken
    )
    {
        var district = operation.DistrictId;
        foreach (var one in asked.Patrons)
        {
            long? merge = null;
            var id = one;
            while (!await context.Patrons.AnyAsync(p => p.DistrictId == district && p.Id == id, cancellationToken))
            {
                var gone = id;
                merge = await context
                    .Changes.Where(c => c.DistrictId == district && c.PatronId == gone && c.Kind == ChangeKind.Remove)
                    .Where(c => c.OperationId > (merge ?? operation.Id))
                    .Join(
                        context.Operations.Where(o => o.Kind == OperationKind.Merge && o.Status != OperationStatus.Undone),
                        c => c.OperationId,
                        o => o.Id,
                        (_, o) => (long?)o.Id
                    )
                    .MaxAsync(cancellationToken);
                if (merge is null)
                {
                    break;
                }

                id = await context
                    .Changes.Where(c => c.DistrictId == district && c.OperationId == merge && c.Kind != ChangeKind.Remove)
                    .Select(c => c.PatronId!.Value)
                    .SingleAsync(cancellationToken);
            }

            if (merge is not null && !asked.Patrons.Contains(id))
            {
                throw new RollcallException(
                    $"Operation {merge} merged the record into another one while this waited. Nothing was erased: look at that one, then erase it."
                );
            }
        }
    }

    /// <summary>Moves with everything that could be written about somebody meanwhile: hand edits and decisions are operations. Sign-ins, of which
    /// a school has one every second in the morning, are looked at for themselves.</summary>
    private static async Task<Version> VersionAsync(
        RollcallContext context,
        int district,
        ErasureOptions asked,
        CancellationToken cancellationToken
    )
    {
        var audit = context.AuditEntries.Where(a => a.DistrictId == district);
        var operations = context.Operations.Where(o => o.DistrictId == district);
        return new Version(
            await operations.MaxAsync(o => o.Id, cancellationToken),
            // A plan has its number before its lines; once they are all there it is planned.
            await operations.CountAsync(o => o.Planned, cancellationToken),
            await audit.Where(a => a.Action != RetentionService.SignInAction).MaxAsync(a => (long?)a.Id, cancellationToken) ?? 0,
            await context.SignInSessions.CountAsync(
                s => s.DistrictId == district && s.PatronId != null && asked.Patrons.Contains(s.PatronId.Value),
                cancellationToken
            ),
            await audit.MaxAsync(a => (long?)a.Id, cancellationToken) ?? 0
        );
    }

    private sealed record Version(long Operation, int Planned, long Audit, int Sessions, long SignIn);

    private async Task TakeOutAsync(
        RollcallContext context,
        Operation operation,
        PersonRecord person,
        long seenSignIn,
        CancellationToken cancellationToken
    )
    {
        var district = operation.DistrictId;
        var ids = person.PatronIds.ToArray();
        var roster = person.RosterIds.ToArray();
        await LeaveOutOfPlansAsync(context, district, person, cancellationToken);
        foreach (var row in person.Rows)
        {
            // The line stays, so that the log still adds up; nobody is in it.
            row.Kind = ChangeKind.Note;
            row.PatronId = null;
            row.RosterId = null;
            row.Candidates = null;
            row.Values = "{}";
            row.Link = null;
            row.LinkBefore = null;
            row.Reason = "Erased";
            row.Warning = null;
            row.Chained = false;
            row.Held = false;
            context.Changes.Update(row);
        }

        foreach (var (row, values) in person.OthersRows)
        {
            row.Reason = person.Terms.Without(row.Reason);
            row.Warning = person.Terms.Without(row.Warning);
            row.Values = values;
            context.Changes.Update(row);
        }

        foreach (var notice in person.Notices)
        {
            notice.Target = person.Terms.Without(notice.Target)!;
            notice.Subject = person.Terms.Without(notice.Subject)!;
            notice.Body = person.Terms.Without(notice.Body)!;
            notice.Error = person.Terms.Without(notice.Error);
            context.Notices.Update(notice);
        }

        foreach (var record in person.Switches)
        {
            record.Data = PersonSearch.WithoutPerson(record, roster, person.Terms);
            context.SwitchRecords.Update(record);
        }

        await context.SaveChangesAsync(cancellationToken);
        foreach (var named in person.Operations)
        {
            // A one-person sync tells each step with all its values.
            var options =
                named.Kind == OperationKind.PersonSync ? PersonOptions.For(PersonTerms.Erased) : person.Terms.WithoutInJson(named.Options);
            var warnings = person.Terms.WithoutInJson(named.Warnings);
            var (by, approved) = (person.Actor.Without(named.RequestedBy)!, person.Actor.Without(named.ApprovedBy));
            var (error, text) = (person.Terms.Without(named.Error), person.Terms.Without(named.StageText));
            await context
                .Operations.Where(o => o.Id == named.Id)
                .ExecuteUpdateAsync(
                    s =>
                        s.SetProperty(o => o.Options, options)
                            .SetProperty(o => o.Warnings, warnings)
                            .SetProperty(o => o.RequestedBy, by)
                            .SetProperty(o => o.ApprovedBy, approved)
                            .SetProperty(o => o.Error, error)
                            .SetProperty(o => o.StageText, text),
                    cancellationToken
                );
        }

        await context
            .Operations.Where(o => o.Id == operation.Id)
            .ExecuteUpdateAsync(s => s.SetProperty(o => o.Options, Erasures.Done), cancellationToken);
        var reviews = person.Reviews.Select(r => r.Id).ToArray();
        await context.ReviewItems.Where(r => r.DistrictId == district && reviews.Contains(r.Id)).ExecuteDeleteAsync(cancellationToken);
        await context
            .SignInSessions.Where(s => s.DistrictId == district && s.PatronId != null && ids.Contains(s.PatronId.Value))
            .ExecuteDeleteAsync(cancellationToken);
        foreach (var token in person.Tokens)
        {
            if (token.PatronId is not null)
            {
                await context.IdempotentRequests.Where(r => r.TokenId == token.Id).ExecuteDeleteAsync(cancellationToken);
                await context.AccessTokens.Where(t => t.Id == token.Id).ExecuteDeleteAsync(cancellationToken);
            }
            else
            {
                var (name, by) = (person.Terms.Without(token.Name)!, person.Actor.Without(token.CreatedBy)!);
                await context
                    .AccessTokens.Where(t => t.Id == token.Id)
                    .ExecuteUpdateAsync(s => s.SetProperty(t => t.Name, name).SetProperty(t => t.CreatedBy, by), cancellationToken);
            }
        }

        await ForgetAnswersAsync(context, district, person, cancellationToken);
        await LetGoOfAddressesAsync(context, district, person, cancellationToken);
        foreach (var account in (await PersonAccount.FindAsync(context, district, person, cancellationToken)).Where(a => a.Goes))
        {
            await account.EraseAsync(context, cancellationToken);
        }

        foreach (
            var decided in await context
                .ReviewItems.Where(r => r.DistrictId == district && r.DecidedBy != null)
                .ToListAsync(cancellationToken)
        )
        {
            decided.DecidedBy = person.Actor.Without(decided.DecidedBy);
            decided.Reason = person.Terms.Without(decided.Reason)!;
        }

        // Filters that were this person's own, and those that search for a name that this person has, though others may have it too.
        var owners = ids.Select(SavedFilters.OwnerOf).ToHashSet(StringComparer.Ordinal);
        var names = person
            .Values[PatronFields.FirstName]
            .Concat(person.Values[PatronFields.LastName])
            .Select(WholeWords)
            .Where(n => n.Length > LeastPadded)
            .ToList();
        context.SavedFilters.RemoveRange(
            (await context.SavedFilters.Where(f => f.DistrictId == district).ToListAsync(cancellationToken)).Where(f =>
                owners.Contains(f.Owner) || f.Texts.Any(t => person.Terms.In(t) || names.Exists(WholeWords(t).Contains))
            )
        );

        // The memory of homerooms has names of teachers in it, and what Readiness said ids of people: both are made anew when they are needed.
        await context.HomeroomParts.Where(h => h.DistrictId == district).ExecuteDeleteAsync(cancellationToken);
        foreach (var row in await context.Integrations.Where(i => i.DistrictId == district).ToListAsync(cancellationToken))
        {
            row.State = JsonSerializer.Serialize(
                IntegrationService.StateOf(row) with
                {
                    Homerooms = null,
                    Readiness = null,
                },
                IntegrationService.Json
            );
        }

        await context.PatronLinks.Where(l => l.DistrictId == district && ids.Contains(l.PatronId)).ExecuteDeleteAsync(cancellationToken);
        await context.Patrons.Where(p => p.DistrictId == district && ids.Contains(p.Id)).ExecuteDeleteAsync(cancellationToken);
        // Last, for those who sign in at this moment.
        var late = await new PersonSearch(database.Bulk, context, district).AuditAsync(
            person.Terms,
            person.Actor,
            person.PatronIds,
            seenSignIn - LinesBeingWritten,
            cancellationToken
        );
        foreach (var entry in person.Audit.UnionBy(late, a => a.Id))
        {
            // Who signed in is known by number: it is this person's, whoever else has the name, and goes with the address that they came from.
            var isSignIn = PersonSearch.IsSignIn(entry, person.PatronIds);
            entry.Actor = isSignIn ? PersonTerms.Erased : person.Actor.Without(entry.Actor)!;
            entry.Details = isSignIn ? $"patron {PersonTerms.Erased} with ClassLink" : person.Terms.Without(entry.Details)!;
            context.AuditEntries.Update(entry);
        }

        context.AuditEntries.Add(
            new AuditEntry
            {
                DistrictId = district,
                At = time.GetUtcNow(),
                Actor = operation.RequestedBy,
                Action = "erase",
                Details =
                    $"Operation {operation.Id}: one person, {person.Rows.Count} log lines, {person.Reviews.Count} entries in Review, {person.Audit.Count} lines of the audit",
            }
        );
    }

    /// <summary>Answers to programs live for a day and may hold a record that was added. That they were given stays, with their key: else what was
    /// carried out before would be carried out a second time. A key that names the person goes, but not of what is being worked on. Those of a token
    /// that is gone are nobody's.</summary>
    private static async Task ForgetAnswersAsync(
        RollcallContext context,
        int district,
        PersonRecord person,
        CancellationToken cancellationToken
    )
    {
        await context
            .IdempotentRequests.Where(r => !context.AccessTokens.Any(t => t.Id == r.TokenId))
            .ExecuteDeleteAsync(cancellationToken);
        var answered = context.IdempotentRequests.Where(r =>
            r.Status != 0 && context.AccessTokens.Any(t => t.Id == r.TokenId && t.DistrictId == district)
        );
        foreach (
            var named in (await answered.Select(r => new { r.TokenId, r.Key }).ToListAsync(cancellationToken)).Where(r =>
                person.Terms.In(r.Key)
            )
        )
        {
            await answered.Where(r => r.TokenId == named.TokenId && r.Key == named.Key).ExecuteDeleteAsync(cancellationToken);
        }

        await answered.ExecuteUpdateAsync(s => s.SetProperty(r => r.Body, (string?)null), cancellationToken);
    }

    /// <summary>Folded, with a blank around each word: a name is found in it as whole words.</summary>
    private static string WholeWords(string? text)
    {
        var builder = new StringBuilder(" ");
        foreach (var c in Text.Fold(text))
        {
            if (char.IsLetterOrDigit(c))
            {
                builder.Append(c);
            }
            else if (builder[^1] != ' ')
            {
                builder.Append(' ');
            }
        }

        return builder[^1] == ' ' ? builder.ToString() : builder.Append(' ').ToString();
    }

    /// <summary>What was planned and not applied yet does not come about: the totals say so.</summary>
    private static async Task LeaveOutOfPlansAsync(
        RollcallContext context,
        int district,
        PersonRecord person,
        CancellationToken cancellationToken
    )
    {
        foreach (var group in person.Rows.GroupBy(r => r.OperationId))
        {
            var plan = await context
                .Operations.AsNoTracking()
                .SingleOrDefaultAsync(o => o.DistrictId == district && o.Id == group.Key, cancellationToken);
            var open = plan is null ? [] : group.Where(r => PersonSearch.IsOpen(plan, r)).ToList();
            if (plan is null || open.Count == 0)
            {
                continue;
            }

            var counts = OperationQueue.CountsOf(plan);
            long Waiting(params ReadOnlySpan<Outcome> outcomes)
            {
                var sum = 0L;
                foreach (var row in open)
                {
                    sum += row.Held && outcomes.Contains(row.Outcome) ? 1 : 0;
                }

                return sum;
            }

            var dropped = OperationQueue.Drop(counts, open.GroupBy(r => r.Outcome).ToDictionary(g => g.Key, g => g.LongCount())) with
            {
                // Whoever has been left out since does not wait any more.
                Held = counts.Held - open.LongCount(r => r is { Held: true, Stale: false }),
                HeldCreated = counts.HeldCreated - Waiting(Outcome.Created),
                HeldUpdated = counts.HeldUpdated - Waiting(Outcome.Updated),
                HeldTransferred = counts.HeldTransferred - Waiting(Outcome.Transferred, Outcome.Absent),
                HeldAbsent = counts.HeldAbsent - Waiting(Outcome.Absent),
                HeldReactivated = counts.HeldReactivated - Waiting(Outcome.Reactivated),
            };
            var leftOut = open.Where(r => r is { Held: true, Stale: true }).GroupBy(r => r.Outcome);
            var json = JsonSerializer.Serialize(
                dropped.WithLeftOut(leftOut.ToDictionary(g => g.Key, g => -g.LongCount())),
                OperationQueue.Json
            );
            await context
                .Operations.Where(o => o.Id == plan.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(o => o.Counts, json), cancellationToken);
            foreach (var row in open)
            {
                row.Outcome = Outcome.Skipped;
            }
        }
    }

    /// <summary>Nobody writes to somebody who was erased.</summary>
    private static async Task LetGoOfAddressesAsync(
        RollcallContext context,
        int district,
        PersonRecord person,
        CancellationToken cancellationToken
    )
    {
        if (await context.NoticeSettings.SingleOrDefaultAsync(n => n.DistrictId == district, cancellationToken) is { } notices)
        {
            notices.Emails = string.Join('\n', notices.Addresses.Where(a => !person.Terms.In(a)));
        }
    }
}
