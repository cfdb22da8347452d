using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Microsoft.EntityFrameworkCore;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.OneRoster;
using Rollcall.OneRoster.Model;
using Rollcall.OneRoster.Rest;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Storage;
using Rollcall.Sync.Apply;
using Rollcall.Sync.Plan;
using Rollcall.Sync.Pull;

namespace Rollcall.Sync.Person;

/// <summary>One step of a one-person sync, as a person reads it.</summary>
/// <param name="Name"><c>found</c>, <c>mapped</c>, <c>matched</c>, <c>difference</c>, <c>result</c>.</param>
/// <param name="Text">What happened.</param>
public sealed record PersonStep(string Name, string Text);

/// <summary>What a one-person sync works on, and the steps it took.</summary>
/// <param name="Person">A <c>sourcedId</c>, or the barcode of a linked patron, as it was asked for; perhaps with a word before it that says
/// which.</param>
/// <param name="Steps">Empty until it has run.</param>
public sealed record PersonOptions(string Person, IReadOnlyList<PersonStep> Steps)
{
    /// <summary>Before a <c>sourcedId</c>, where it could be a barcode too.</summary>
    public const string ByGuid = "guid:";

    /// <summary>Before a barcode, where it could be a <c>sourcedId</c> too.</summary>
    public const string ByBarcode = "barcode:";

    /// <summary>What names a patron for certain.</summary>
    public static string ForPatron(Patron patron) => For(patron.Guid is null ? ByBarcode + patron.Barcode : ByGuid + patron.Guid);

    /// <summary>What to queue for a person.</summary>
    public static string For(string person) => JsonSerializer.Serialize(new PersonOptions(person, []), OperationQueue.Json);

    /// <summary>The steps of a one-person sync; empty for other operations.</summary>
    public static PersonOptions Of(Operation operation) =>
        JsonSerializer.Deserialize<PersonOptions>(operation.Options, OperationQueue.Json) ?? new PersonOptions("", []);
}

/// <summary>Syncs one person now, and says each step. Follows the rules of a changes sync: what only a whole roster can tell is left to the
/// next full one, and nobody is transferred for not being found.</summary>
internal sealed class PersonHandler(RollcallDatabase database, IntegrationService integrations, OperationQueue queue, TimeProvider time)
    : IOperationHandler
{
    private const string Result = "result";

    /// <summary>What a log's header says, by name: roles and sources.</summary>
    private static readonly JsonSerializerOptions s_options = new(OperationQueue.Json) { Converters = { new JsonStringEnumConverter() } };

    public bool Handles(OperationKind kind) => kind == OperationKind.PersonSync;

    public async Task ExecuteAsync(OperationRun run, CancellationToken cancellationToken)
    {
        var operation = run.Operation;
        var asked = PersonOptions.Of(operation);
        var setup = await LoadSetupAsync(operation, cancellationToken);
        setup.EnsureReady();
        var justPlanned = !operation.Planned;
        if (!operation.Planned)
        {
            await PlanAsync(run, setup, asked, cancellationToken);

            // Whatever was saved while it read counts as of the writing, too.
            setup = await LoadSetupAsync(operation, cancellationToken);
        }

        var counts = OperationQueue.CountsOf(operation);
        var warnings = OperationQueue.WarningsOf(operation).ToList();
        if (operation.PreviewOnly && operation.ApprovedAt is null)
        {
            await queue.FinishAsync(operation, OperationStatus.Preview, counts, warnings, null, cancellationToken);
            return;
        }

        var applier = new Applier(database, operation, SyncRules.Of(setup, operation), time) { JustPlanned = justPlanned };
        await applier.RunAsync(
            held: false,
            approval: operation.ApprovedAt is not null,
            done => run.ReportAsync(OperationStage.Applying, "Writing the change", done, operation.PlanSize),
            cancellationToken
        );
        counts = OperationQueue.Drop(counts, applier.Stale);
        var leftOut = applier.Stale.Count > 0 || Planner.LeftOut(warnings);
        SyncHandler.AddLeftOut(warnings, applier);
        counts = counts with { Warnings = warnings.Sum(w => w.Count) };
        await queue.FinishWithAsync(
            operation,
            warnings.Count > 0 ? OperationStatus.CompletedWithWarnings : OperationStatus.Completed,
            counts,
            warnings,
            context => AfterAsync(context, operation, applier, leftOut, cancellationToken),
            cancellationToken
        );
    }

    private async Task<SyncSetup> LoadSetupAsync(Operation operation, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var kind = operation.Integration ?? throw new RollcallException("The operation names no roster service.");
        return await SyncSetup.LoadAsync(context, operation.DistrictId, kind, time, cancellationToken);
    }

    /// <summary>What was not written after all is said where the steps had said what would be, and left to a sync that looks at everybody.</summary>
    private static async Task AfterAsync(
        RollcallContext context,
        Operation operation,
        Applier applier,
        bool leftOut,
        CancellationToken cancellationToken
    )
    {
        if (applier.Stale.Count > 0)
        {
            var why = await context
                .Changes.Where(c => c.DistrictId == operation.DistrictId && c.OperationId == operation.Id && c.Stale)
                .Select(c => c.Warning)
                .FirstOrDefaultAsync(cancellationToken);
            var options =
                JsonNode.Parse(operation.Options) as JsonObject ?? throw new InvalidOperationException("A one-person sync has no options.");
            var steps = PersonOptions.Of(operation).Steps.Where(s => s.Name != Result);
            options["steps"] = JsonSerializer.SerializeToNode(
                steps.Append(new PersonStep(Result, $"Nothing was written ({why}).")),
                OperationQueue.Json
            );
            var text = options.ToJsonString(OperationQueue.Json);
            await context
                .Operations.Where(o => o.Id == operation.Id)
                .ExecuteUpdateAsync(s => s.SetProperty(o => o.Options, text), cancellationToken);
        }

        if (leftOut)
        {
            await OlderPlans.RequireFullAsync(context, operation, $"operation {operation.Id} left changes out", cancellationToken);
        }
    }

    private async Task PlanAsync(OperationRun run, SyncSetup setup, PersonOptions asked, CancellationToken cancellationToken)
    {
        var operation = run.Operation;
        await using var connection = await database.OpenAsync(cancellationToken);
        await queue.DeletePlanAsync(operation, cancellationToken);
        var warnings = new WarningLog();
        var steps = new List<PersonStep>();
        PlanResult plan;
        string sourcedId;
        using (var source = await integrations.OpenAsync(operation.DistrictId, setup.Kind, cancellationToken))
        {
            sourcedId = await ResolveAsync(operation.DistrictId, asked.Person, source, cancellationToken);
            var pull = new PersonPull(
                setup,
                source,
                Path.Combine(database.DataFolder, "spool"),
                text => run.ReportAsync(OperationStage.Pulling, text, 0, null)
            );
            var records = await PersonRecords.LoadAsync(connection, operation.DistrictId, cancellationToken);
            var ids = records.Of(sourcedId);
            using var roster = await pull.ReadAsync(
                sourcedId,
                ids,
                await LinkedAsync(operation.DistrictId, [sourcedId, .. ids], cancellationToken),
                cancellationToken
            );
            if (pull.Users.Count == 0 && !await IsKnownAsync(operation.DistrictId, sourcedId, cancellationToken))
            {
                var where = pull.ChangesAlone ? "in the package at hand, which holds changes alone," : "in the roster";
                throw new RollcallException(
                    $"Nobody has the sourcedId or barcode '{Text.Cut(sourcedId, 60)}', neither {where} nor here. Check it; 'rollcall patron list' shows barcodes."
                );
            }

            steps.Add(new PersonStep("found", Found(pull, sourcedId, roster, setup)));
            await run.ReportAsync(OperationStage.Planning, "Matching the person", 0, 1);
            var patrons = await PatronIndex.LoadAsync(connection, operation.DistrictId, setup.Keys, cancellationToken);
            var matches = Matcher.Run(
                patrons,
                roster,
                setup,
                await SyncHandler.LoadDecisionsAsync(database, operation.DistrictId, setup.Keys, cancellationToken),
                await SyncHandler.LoadAskedAsync(database, operation.DistrictId, cancellationToken)
            );
            var planner = new Planner(
                database,
                connection,
                setup,
                roster,
                patrons,
                matches,
                operation,
                warnings,
                (_, _, _) => ValueTask.CompletedTask
            )
            {
                Mapped = person => steps.Add(new PersonStep("mapped", Mapped(person, setup))),
            };
            plan = await planner.RunAsync(cancellationToken);
            var counting = Counting(roster, matches, setup.Keys.Of(sourcedId));
            var id = pull
                .Users.FirstOrDefault(u => counting >= 0 && setup.Keys.Of(u.SourcedId) == roster.Persons[counting].Guid)
                ?.SourcedId;
            Match? match = counting < 0 ? null : matches[counting];
            int[] found = match is { Decision: Decision.Match, Patron: var patron }
                ? [patron]
                : matches.Candidates.GetValueOrDefault(counting) ?? [];
            await ExplainAsync(
                operation,
                match,
                id ?? sourcedId,
                await BarcodesAsync(operation.DistrictId, [.. found.Select(f => patrons[f].Id).Distinct()], cancellationToken),
                plan,
                steps,
                cancellationToken
            );
        }

        var counts = plan.Counts with { Warnings = warnings.Count };
        var options = JsonSerializer.Serialize(
            new
            {
                asked.Person,
                Steps = steps,
                setup.Settings.Roles,
                setup.Settings.Map,
                Matches = setup.MatchesHash,
                Seen = operation.PreviewOnly ? plan.Seen.Kept : null,
            },
            s_options
        );
        await using var transaction = await database.Bulk.BeginWriteAsync(connection, cancellationToken);
        await database.Bulk.LockDistrictAsync(connection, transaction, operation.DistrictId, cancellationToken);
        var planned = await Sql.ExecuteAsync(
            connection,
            transaction,
            $"""
            UPDATE operations SET planned = @true, plan_size = @size, counts = @counts, warnings = @warnings, options = @options,
                takeovers = 0
            WHERE id = @id AND fence = @fence AND status = {(int)OperationStatus.Running}
            """,
            cancellationToken,
            ("@true", true),
            ("@size", plan.Rows),
            ("@counts", JsonSerializer.Serialize(counts, OperationQueue.Json)),
            ("@warnings", JsonSerializer.Serialize(warnings.Groups, OperationQueue.Json)),
            ("@options", options),
            ("@id", operation.Id),
            ("@fence", operation.Fence)
        );
        if (planned != 1)
        {
            throw new FencedOffException();
        }

        await using (var context = database.CreateContext(connection, transaction).AllowLong())
        {
            var now = time.GetUtcNow();
            await OlderPlans.ReplaceOfPersonAsync(context, operation, sourcedId, now, cancellationToken);
            if (!operation.PreviewOnly)
            {
                await OlderPlans.ContradictAsync(context, operation, plan.Seen, now, cancellationToken);
            }
        }

        await transaction.CommitAsync(cancellationToken);
        operation.Planned = true;
        operation.PlanSize = plan.Rows;
        operation.Counts = JsonSerializer.Serialize(counts, OperationQueue.Json);
        operation.Warnings = JsonSerializer.Serialize(warnings.Groups, OperationQueue.Json);
        operation.Options = options;
    }

    /// <summary>Who is meant: a barcode means the patron's roster person, everything else is taken as a <c>sourcedId</c>. What is both, of two
    /// people, is refused: one of them would be synced for the other.</summary>
    private async Task<string> ResolveAsync(int districtId, string person, IRosterSource source, CancellationToken cancellationToken)
    {
        person = person.Trim();
        if (person.StartsWith(PersonOptions.ByGuid, StringComparison.OrdinalIgnoreCase))
        {
            return person[PersonOptions.ByGuid.Length..].Trim();
        }

        var byBarcode = person.StartsWith(PersonOptions.ByBarcode, StringComparison.OrdinalIgnoreCase);
        var code = byBarcode ? person[PersonOptions.ByBarcode.Length..].Trim() : person;
        var key = Text.BarcodeKey(code);
        await using var context = database.CreateContext();
        var patron = await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == districtId && p.BarcodeKey == key)
            .Select(p => new
            {
                p.Id,
                p.Barcode,
                p.Guid,
            })
            .SingleOrDefaultAsync(cancellationToken);
        if (patron is null)
        {
            return byBarcode
                ? throw new RollcallException(
                    $"No patron has the barcode '{Text.Cut(code, 60)}'. Check it; 'rollcall patron list' shows barcodes."
                )
                : person;
        }

        if (!byBarcode && await OtherOfIdAsync(context, districtId, person, patron.Id, source, cancellationToken) is { } other)
        {
            throw new RollcallException(
                $"'{Text.Cut(person, 60)}' is the barcode of a patron {(patron.Guid is null ? "who is not linked" : $"linked to '{Text.Cut(patron.Guid, 60)}'")}, and the sourcedId of another person, {other}. Say {PersonOptions.ByBarcode}{patron.Barcode} or {PersonOptions.ByGuid}{Text.Cut(person, 60)}."
            );
        }

        return patron.Guid
            ?? throw new RollcallException(
                $"The patron {patron.Barcode} is not linked to anybody in the roster. Give the person's sourcedId instead, or run a full sync."
            );
    }

    /// <summary>Somebody else who has a barcode's text for a <c>sourcedId</c>, in words; null when nobody does.</summary>
    private static async Task<string?> OtherOfIdAsync(
        RollcallContext context,
        int districtId,
        string id,
        long patronId,
        IRosterSource source,
        CancellationToken cancellationToken
    )
    {
        var holders = await context
            .Patrons.AsNoTracking()
            .Where(p => p.DistrictId == districtId && p.Guid == id)
            .Select(p => new { p.Id, p.Barcode })
            .ToListAsync(cancellationToken);
        var aliases = await PatronAliases.FindAsync(context.PatronLinks.Where(l => l.DistrictId == districtId), id, cancellationToken);
        if (holders.Exists(h => h.Id == patronId) || aliases.Contains(patronId))
        {
            // The patron's own.
            return null;
        }

        if (holders.Count > 0)
        {
            return $"the patron {holders[0].Barcode}";
        }

        return aliases.Count > 0 || await HasAsync(source, id, cancellationToken) ? "who is in the roster" : null;
    }

    private static async Task<bool> HasAsync(IRosterSource source, string id, CancellationToken cancellationToken)
    {
        if (source is RestRosterSource service)
        {
            try
            {
                return await service.UserAsync(id, cancellationToken) is not null;
            }
            catch (RosterException e) when (NotInPartsException.IsRefusal(e) || e.Fault == RosterFault.NotARoster)
            {
                // Some give nobody one by one: all of them tell.
            }
        }

        var found = false;
        await foreach (var page in source.Users().ReadAsync(cancellationToken))
        {
            found |= page.Records.Any(u => string.Equals(u.SourcedId, id, StringComparison.Ordinal));
        }

        return found;
    }

    /// <summary>A patron is linked to this roster person, perhaps by a further <c>sourcedId</c>.</summary>
    private async Task<bool> IsKnownAsync(int districtId, string sourcedId, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        return await context.Patrons.AnyAsync(p => p.DistrictId == districtId && p.Guid == sourcedId, cancellationToken)
            || (
                await PatronAliases.FindAsync(context.PatronLinks.Where(l => l.DistrictId == districtId), sourcedId, cancellationToken)
            ).Count > 0;
    }

    /// <summary>Who is linked to the person, by the id that was asked for before others.</summary>
    private async Task<(string Guid, KnownPerson Known)?> LinkedAsync(int districtId, string[] ids, CancellationToken cancellationToken)
    {
        await using var context = database.CreateContext();
        var found = await context
            .PatronLinks.AsNoTracking()
            .Where(l => l.DistrictId == districtId)
            .Join(
                context.Patrons.AsNoTracking().Where(p => p.DistrictId == districtId && p.Guid != null && ids.Contains(p.Guid)),
                l => l.PatronId,
                p => p.Id,
                (l, p) => new { Link = l, Patron = p }
            )
            .ToListAsync(cancellationToken);
        return found.MinBy(f => Array.IndexOf(ids, f.Patron.Guid!)) is { } linked
            ? (linked.Patron.Guid!, KnownPerson.Of(linked.Patron, linked.Link))
            : null;
    }

    /// <summary>The patrons who were found, by their barcodes.</summary>
    private async Task<string> BarcodesAsync(int districtId, long[] ids, CancellationToken cancellationToken)
    {
        const int Most = 10;
        await using var context = database.CreateContext();
        var barcodes = await context
            .Patrons.Where(p => p.DistrictId == districtId && ids.Contains(p.Id))
            .OrderBy(p => p.Id)
            .Select(p => p.Barcode)
            .Take(Most)
            .ToListAsync(cancellationToken);
        return string.Join(", ", barcodes) + (ids.Length > Most ? " and more" : "");
    }

    /// <summary>Which of the person's records is synced: the one that matched, else the one that was asked for; negative when there is none.</summary>
    private static int Counting(Roster roster, Matches matches, ulong asked)
    {
        var counting = -1;
        for (var i = 0; i < matches.Count; i++)
        {
            if (matches[i].Decision == Decision.Match || (roster.Persons[i].Guid == asked && counting < 0))
            {
                counting = i;
            }
        }

        return counting < 0 && matches.Count > 0 ? 0 : counting;
    }

    private static string Found(PersonPull pull, string sourcedId, Roster roster, SyncSetup setup)
    {
        var own = pull.Users.FirstOrDefault(u => string.Equals(u.SourcedId, sourcedId, StringComparison.Ordinal));
        var said = new List<string>
        {
            own is not null ? Found(own, roster, setup)
            : pull.NothingFollows(sourcedId) is { } why ? why
            : pull.Users.Count > 0 ? $"The roster has nobody with the sourcedId {sourcedId}."
            : $"The roster has nobody with the sourcedId {sourcedId}. Nothing is changed for that; only a full sync decides who has left.",
        };
        said.AddRange(
            pull.Users.Where(u => !ReferenceEquals(u, own)).Select(u => $"Another record of the person, {Found(u, roster, setup)}")
        );
        if (pull.ChangesAlone && pull.Users.Count > 0)
        {
            said.Add(
                pull.RolesUnclear
                    ? "The package at hand holds changes alone. Roles of the person changed, and it does not say which others there are: they stay as they are here until the next complete package."
                    : "The package at hand holds changes alone: what it does not say stays as it is here."
            );
        }

        return string.Join(' ', said);
    }

    private static string Found(User user, Roster roster, SyncSetup setup)
    {
        var standing = RoleGroups.StandingOf(user, setup.Settings.Roles, setup.Today);
        var roles = string.Join(
            ", ",
            user.Roles.Select(r =>
                r.Org is { } org
                    ? $"{r.Role} at {(roster.Orgs.TryGetValue(org, out var known) ? Text.Clean(known.Name) ?? org : org)}"
                    : r.Role
            )
        );
        var state =
            user.Status == RecordStatus.ToBeDeleted ? "deleted in the roster"
            : standing.Ended ? "all roles ended"
            : "active";
        var ticked =
            standing.Ticked ? $"synced as {RoleGroups.Label(standing.Group)}"
            : standing.Group == RoleGroup.None ? "no role that is synced"
            : $"{RoleGroups.Label(standing.Group)} is not ticked: left alone";
        return $"{user.SourcedId}: {state}; {(roles.Length == 0 ? "no role" : roles)}; {ticked}.";
    }

    private static string Mapped(MappedPerson person, SyncSetup setup)
    {
        var parts = new List<string>();
        for (var i = 0; i < person.Values.Length; i++)
        {
            if (person.Values[i].State != MappedState.NotSent)
            {
                var field = FieldMap.SyncedFields[i];
                var said = OperationLog.Display(field, person.Values[i].Text, new Dictionary<string, string>());
                parts.Add($"{PatronFields.ByNumber(field).Label} {said ?? "(blank)"}");
            }
        }

        parts.Add(
            person.Site is { } site && setup.Sites.TryGetValue(site, out var known)
                ? $"Site {known.Name} ({known.Code})"
                : "Site unknown: the organization is not matched"
        );
        return string.Join("; ", parts) + ".";
    }

    private async Task ExplainAsync(
        Operation operation,
        Match? counting,
        string sourcedId,
        string found,
        PlanResult plan,
        List<PersonStep> steps,
        CancellationToken cancellationToken
    )
    {
        if (counting is not { } match)
        {
            steps.Add(new PersonStep(Result, "Nothing to write."));
            return;
        }

        var log = new OperationLog(database);
        LogRow? row = null;
        await foreach (var line in log.ReadAsync(operation.DistrictId, operation.Id, cancellationToken: cancellationToken))
        {
            row = string.Equals(line.Guid, sourcedId, StringComparison.Ordinal) ? line : row;
        }

        steps.Add(
            new PersonStep(
                "matched",
                match.Decision switch
                {
                    Decision.Match => $"By {KeyLabel(match.Key)}, the patron {row?.Barcode ?? found}.",
                    Decision.Create => "Nobody here: a new patron.",
                    Decision.Review => $"Not safely: {match.Reason}{(found.Length > 0 ? $" ({found})" : "")}.",
                    Decision.Skip => $"Not tried: {match.Reason}.",
                    _ => "Not tried: the person's role is not synced here.",
                }
            )
        );
        if (row is { Changes.Count: > 0 } && match.Decision is Decision.Match or Decision.Create)
        {
            steps.Add(
                new PersonStep(
                    "difference",
                    string.Join("; ", row!.Changes.Select(c => $"{c.Label}: {c.Old ?? "(blank)"} → {c.New ?? "(blank)"}")) + "."
                )
            );
        }

        var counts = plan.Counts;
        steps.Add(
            new PersonStep(
                Result,
                (
                    counts.Created > 0 ? "Created"
                    : counts.Reactivated > 0 ? "Reactivated"
                    : counts.Transferred > 0 ? "Transferred"
                    : counts.Updated > 0 ? "Updated"
                    : counts.Review > 0 && operation.PreviewOnly ? "Would wait in Review, to be said there who the person is"
                    : counts.Review > 0 ? "Waits in Review: say there who the person is"
                    : row is not null && row.Outcome == OperationLog.OutcomeWord(Outcome.Skipped)
                        ? $"Skipped, with nothing written: {row.Reason}"
                    : match.Decision == Decision.None
                        ? "Left alone, with nothing written. If people of this role are to be synced, tick it under Syncing"
                    : "Unchanged: there is nothing to write"
                ) + (row?.Warning is { } warning ? $" ({warning})." : ".")
            )
        );
    }

    private static string KeyLabel(MatchKey key) =>
        key switch
        {
            MatchKey.StudentNumber => "Student #",
            MatchKey.Guid => "GUID",
            _ => key.ToString().ToLowerInvariant(),
        };
}
