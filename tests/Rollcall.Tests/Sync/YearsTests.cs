using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Sync;
using Rollcall.Sync.Undo;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>A pretend district lives for weeks while librarians edit, import, merge, decide and undo in between. What must always hold is
/// checked after every step. ROLLCALL_ROUNDS runs more lives than the usual ones.</summary>
public sealed class YearsTests(PostgresCluster cluster, YearsTests.Lived lived) : IClassFixture<YearsTests.Lived>
{
    private static readonly int s_rounds = int.TryParse(
        Environment.GetEnvironmentVariable("ROLLCALL_ROUNDS"),
        CultureInfo.InvariantCulture,
        out var rounds
    )
        ? rounds
        : 0;

    public static TheoryData<Db, int> Lives()
    {
        var lives = new TheoryData<Db, int>();
        for (var seed = 1; seed <= Math.Max(s_rounds, 6); seed++)
        {
            // Neither those who began with a file nor those of students alone are all of one database.
            lives.Add(seed % 4 is 2 or 3 ? Db.Postgres : Db.Sqlite, seed);
        }

        return lives;
    }

    [Theory]
    [MemberData(nameof(Lives))]
    public async Task Whatever_happens_nobody_is_lost_or_doubled(Db db, int seed)
    {
        await using var system = await Installation.StartAsync(
            cluster,
            db,
            new SandboxOptions
            {
                Students = 60,
                Schools = 2,
                Seed = seed,
            }
        );
        var life = new Life(system, seed, what => lived.Count(db, what));
        try
        {
            await life.LiveAsync();
            lived.Count(db, Lived.Lives);
            TestContext.Current.TestOutputHelper?.WriteLine(life.Diary);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"Life {seed} broke after:\n{life.Diary}", e);
        }
    }

    /// <summary>What happened in all lives together: that nothing broke says little where nothing happened.</summary>
    public sealed class Lived : IDisposable
    {
        public const string Lives = "lives";
        private static readonly string[] s_what =
        [
            "preview applied",
            "run undone",
            "held",
            "approved",
            "discarded",
            "merge undone",
            "unchanged",
        ];
        private readonly ConcurrentDictionary<(Db, string), int> _counts = [];

        public void Count(Db db, string what) => _counts.AddOrUpdate((db, what), 1, (_, n) => n + 1);

        /// <summary>After all of them: some alone, as somebody looks for a fault, need not have everything.</summary>
        public void Dispose()
        {
            foreach (var db in Enum.GetValues<Db>())
            {
                if (_counts.GetValueOrDefault((db, Lives)) >= 3)
                {
                    Assert.All(s_what, what => Assert.True(_counts.GetValueOrDefault((db, what)) > 0, $"{db}: nothing was {what}"));
                }
            }
        }
    }

    private sealed class Life(Installation system, int seed, Action<string> happened)
    {
        private readonly Random _random = new(seed);
        private readonly StringBuilder _diary = new();
        private int _day;
        private int _number;

        // Decisions take turns, so that no life has one kind alone.
        private int _settled;
        private int _merged;

        public string Diary => _diary.ToString();

        public async Task LiveAsync()
        {
            (_settled, _merged) = (seed, seed / 2);
            await system.ConfigureAsync(s =>
                s with
                {
                    Map = new FieldMap
                    {
                        Location = LocationSource.TeacherName,
                        CommunityId = new IdMapping(IdSource.UserIdType, "StateID"),
                    },
                    Roles = seed % 4 == 0 ? [RoleGroup.Student] : s.Roles,
                }
            );
            if (seed % 2 == 0)
            {
                await ImportAsync(20);
            }

            await SyncAsync();
            // All that there is to do, twice, in any order.
            var deck = Enumerable.Range(0, 13).SelectMany(c => (int[])[c, c]).ToArray();
            _random.Shuffle(deck);
            foreach (var card in deck)
            {
                switch (card)
                {
                    case 0 or 1 or 2:
                        _day += _random.Next(1, 4);
                        Say($"day {_day}");
                        system.Sandbox.SetDay(_day);
                        await SyncAsync(_random.Next(2) == 0 ? OperationKind.FullSync : OperationKind.ChangesSync);
                        break;
                    case 3:
                        await PreviewThenApplyAsync();
                        break;
                    case 4:
                        await SyncAsync();
                        await UnchangedAsync();
                        break;
                    case 5 or 6:
                        await EditAsync();
                        break;
                    case 7:
                        await ImportAsync(_random.Next(1, 6));
                        break;
                    case 8:
                        await MergeAsync();
                        break;
                    case 12:
                        await UndoLateAsync();
                        break;
                    case 9:
                        await DecideAsync();
                        break;
                    case 10:
                        await SyncAndUndoAsync();
                        break;
                    case 11:
                        await VanishAsync();
                        break;
                }

                await CheckAsync();
            }
        }

        private void Say(string what) => _diary.AppendLine(what);

        private async Task<Operation> SyncAsync(OperationKind kind = OperationKind.FullSync)
        {
            var before = (await system.AllPatronsAsync()).ToList();
            Dictionary<long, RoleGroup> groups;
            await using (var context = system.Database.CreateContext())
            {
                groups = context.PatronLinks.ToDictionary(l => l.PatronId, l => l.RoleGroup);
            }

            var operation = await system.SyncAsync(kind: kind);
            Say($"{OperationQueue.KindWord(operation.Kind)} sync {operation.Id}: {operation.Status} {operation.Counts} {operation.Error}");
            Assert.Null(operation.Error);
            var counts = OperationQueue.CountsOf(operation);
            Assert.True(counts.AddUp);

            // Nobody goes, whatever the roster says; and what a sync transfers, its log names.
            var after = (await system.AllPatronsAsync()).ToDictionary(p => p.Id);
            Assert.All(before, p => Assert.True(after.ContainsKey(p.Id)));
            Assert.Equal(before.Count + counts.Created - await HeldAsync(operation, Outcome.Created), after.Count);
            var log = (await system.LogAsync(operation.Id)).Where(r => r is { Held: false, Stale: false }).ToList();
            var transferred = before.Count(p => p.Status != PatronStatus.Transferred && after[p.Id].Status == PatronStatus.Transferred);
            Assert.Equal(transferred, log.Count(r => r.Outcome is "transferred" or "absent"));

            // What exceeds a threshold waits.
            foreach (var site in log.Where(r => r.Outcome is "transferred" or "absent").GroupBy(r => (r.Site, r.RoleGroup)))
            {
                Assert.True(site.Count() < 10, $"{site.Key}: {site.Count()} transferred without approval");
                var gone = site.Select(r => r.PatronId).ToHashSet();
                Assert.True(
                    gone.Count < 3
                        || before.Exists(p =>
                            p.SiteId == after[gone.First()!.Value].SiteId
                            && !gone.Contains(p.Id)
                            && groups.TryGetValue(p.Id, out var group)
                            && string.Equals(group.ToString(), site.Key.RoleGroup, StringComparison.OrdinalIgnoreCase)
                            && p.Status != PatronStatus.Transferred
                        ),
                    $"{site.Key}: all {gone.Count} transferred without approval"
                );
            }

            foreach (
                var site in log.Where(r =>
                        r.Outcome is "updated" or "reactivated"
                        && r.Changes.Any(c => c.Old is not null && c.Field is "lastName" or "barcode" or "communityId")
                    )
                    .GroupBy(r => (r.Site, r.RoleGroup))
            )
            {
                Assert.True(site.Count() < 10, $"{site.Key}: {site.Count()} of another name or number without approval");
            }

            foreach (
                var site in log.Where(r => r.Outcome == "created" && r.Reason?.Contains("same name", StringComparison.Ordinal) == true)
                    .GroupBy(r => (r.Site, r.RoleGroup))
            )
            {
                Assert.True(site.Count() < 10, $"{site.Key}: {site.Count()} of the names of others created without approval");
            }

            AssertKeys(log, before);
            return operation;
        }

        /// <summary>Whom a key found had it before, as the roster has it, and it was not blank.</summary>
        private void AssertKeys(IEnumerable<LogRow> log, List<Patron> before)
        {
            var people = system.Sandbox.District.People.ToDictionary(p => p.SourcedId);
            var patrons = before.ToDictionary(p => p.Id);
            foreach (var row in log.Where(r => r is { MatchedBy: not (null or "guid" or "decision"), PatronId: not null }))
            {
                var (person, patron) = (people[row.Guid!], patrons[row.PatronId!.Value]);
                var byNumber =
                    patron.CommunityId is { Length: > 0 } number && person.UserIds.Any(i => i.Type == "StateID" && i.Identifier == number);
                var byEmail =
                    patron.Email is { Length: > 0 } address && string.Equals(address, person.Email, StringComparison.OrdinalIgnoreCase);
                Assert.True(
                    row.MatchedBy switch
                    {
                        "studentNumber" => byNumber,
                        "email" => byEmail,
                        "reissued" => byNumber || byEmail,
                        _ => false,
                    },
                    $"{row.Guid} is said to be {patron.Barcode} by {row.MatchedBy}"
                );
            }
        }

        private async Task<long> HeldAsync(Operation operation, Outcome outcome) =>
            (await system.LogAsync(operation.Id)).Count(r => r.Held && r.Outcome == OperationLog.OutcomeWord(outcome));

        private async Task UnchangedAsync()
        {
            // Whoever was linked or compared by the last one is remembered by the next: that is no change, and has an end.
            await SyncAsync();
            var questions = await QuestionsAsync();
            await WatchAsync();
            var operation = await SyncAsync();
            var again = OperationQueue.CountsOf(operation);
            Assert.Equal(again.Held, again.Created + again.Updated + again.Reactivated + again.Transferred);
            Assert.Equal([], await TouchedAsync());
            Assert.DoesNotContain(await system.LogAsync(operation.Id), r => r is { Held: false, Kind: "create" or "update" or "transfer" });
            Assert.Equal(questions, await QuestionsAsync());
            happened("unchanged");
        }

        /// <summary>Who waits in Review, and why: each full sync asks again, so that only its own number is another.</summary>
        private async Task<List<string>> QuestionsAsync()
        {
            await using var context = system.Database.CreateContext();
            return
            [
                .. context
                    .ReviewItems.AsEnumerable()
                    .Select(r => $"{r.Id} {r.RosterId} {r.Status} {r.Reason} {r.Candidates} {r.Values}")
                    .Order(StringComparer.Ordinal),
            ];
        }

        private static readonly (string Verb, string Table)[] s_watched =
        [
            .. ((string[])["patrons", "patron_links", "sites"]).SelectMany(t =>
                ((string[])["INSERT", "UPDATE", "DELETE"]).Select(v => (v, t))
            ),
        ];

        /// <summary>The database itself notes each row that is written, whoever writes it and whatever stands in it.</summary>
        private async Task WatchAsync()
        {
            await ExecuteAsync("CREATE TABLE touched (what text NOT NULL)");
            if (system.Database.IsPostgres)
            {
                await ExecuteAsync(
                    "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO touched VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END $$"
                );
            }

            foreach (var (verb, table) in s_watched)
            {
                var action = system.Database.IsPostgres
                    ? "EXECUTE FUNCTION touch()"
                    : $"BEGIN INSERT INTO touched VALUES ('{verb} {table}'); END";
                await ExecuteAsync($"CREATE TRIGGER touch_{verb}_{table} AFTER {verb} ON {table} FOR EACH ROW {action}");
            }
        }

        /// <summary>What was written since, and nothing is noted any more.</summary>
        private async Task<List<string>> TouchedAsync()
        {
            List<string> touched;
            await using (var context = system.Database.CreateContext())
            {
                touched = await context.Database.SqlQueryRaw<string>("SELECT what AS \"Value\" FROM touched").ToListAsync();
            }

            foreach (var (verb, table) in s_watched)
            {
                await ExecuteAsync($"DROP TRIGGER touch_{verb}_{table}{(system.Database.IsPostgres ? $" ON {table}" : "")}");
            }

            await ExecuteAsync("DROP TABLE touched");
            if (system.Database.IsPostgres)
            {
                await ExecuteAsync("DROP FUNCTION touch()");
            }

            return touched;
        }

        private async Task ExecuteAsync(string sql)
        {
            await using var connection = await system.Database.OpenAsync();
            await Sql.ExecuteAsync(connection, null, sql, CancellationToken.None);
        }

        private async Task PreviewThenApplyAsync()
        {
            var preview = await system.SyncAsync(preview: true);
            Say($"preview {preview.Id}: {preview.Counts}");
            var before = (await system.AllPatronsAsync()).ToDictionary(p => p.Id);
            var planned = await system.LogAsync(preview.Id);
            var applied = await system.ApproveAsync(preview.Id);
            Say($"approved: {applied.Status} {applied.Counts}");
            Assert.Null(applied.Error);
            var after = (await system.AllPatronsAsync()).ToDictionary(p => p.Id);
            var sites = (await system.Get<Rollcall.Districts.SiteService>().ListAsync(system.District.Id)).ToDictionary(
                s => s.Id.ToString(CultureInfo.InvariantCulture),
                s => s.Code
            );
            foreach (var row in planned.Where(r => r.PatronId is not null && r.Kind is not "note"))
            {
                foreach (var change in row.Changes)
                {
                    var field = PatronFields.Find(change.Field)!;
                    Assert.Equal(change.New, OperationLog.Display(field.Number, field.Get(after[row.PatronId!.Value]), sites));
                }
            }

            // The rows, the numbers, the links and the questions are those of the preview too.
            Assert.Equal(Done(OperationQueue.CountsOf(preview)), Done(OperationQueue.CountsOf(applied)));
            Assert.Equal(planned.Select(RowOf), (await system.LogAsync(applied.Id)).Select(RowOf));
            await using var context = system.Database.CreateContext();
            var rows = context.Changes.Where(c => c.OperationId == applied.Id).ToList();
            var links = context.PatronLinks.ToDictionary(l => l.PatronId);
            foreach (var row in rows.Where(r => r.PatronId is not null && r.Link is not null && r.Kind != ChangeKind.Review))
            {
                Assert.Equal(
                    LinkState.Parse(row.Link)! with
                    {
                        SyncHash = 0,
                    },
                    LinkState.Of(links[row.PatronId!.Value]) with
                    {
                        SyncHash = 0,
                    }
                );
            }

            Assert.Equal(
                rows.Where(r => r.Kind == ChangeKind.Review).Select(r => r.RosterId).Order(StringComparer.Ordinal),
                context
                    .ReviewItems.Where(r => r.Status == ReviewStatus.Open)
                    .Select(r => r.RosterId)
                    .AsEnumerable()
                    .Order(StringComparer.Ordinal)
            );
            static (long, long, long, long, long, long, long, long, long) Done(SyncCounts counts) =>
                (
                    counts.Read,
                    counts.Created,
                    counts.Updated,
                    counts.Unchanged,
                    counts.Transferred,
                    counts.Absent,
                    counts.Reactivated,
                    counts.Skipped,
                    counts.Review
                );
            static string RowOf(LogRow row) =>
                $"{row.PatronId} {row.Kind} {row.Outcome} {row.Guid} {row.MatchedBy} {row.Reason} {string.Join('|', row.Changes)}";
            var named = planned.Where(r => r.Changes.Count > 0).Select(r => r.PatronId).ToHashSet();
            Assert.All(after.Values.Where(p => !named.Contains(p.Id)), p => Assert.Equal(before[p.Id].Version, p.Version));
            happened("preview applied");
        }

        private async Task SyncAndUndoAsync()
        {
            await SettleAsync();
            var before = await UndoTests.PictureAsync(system);
            _day += _random.Next(1, 3);
            system.Sandbox.SetDay(_day);
            Say($"day {_day}, to be undone");
            var operation = await SyncAsync();
            if (UndoService.Refusal(operation) is not null || operation.PlanSize == 0)
            {
                return;
            }

            var undo = await system.Get<UndoService>().EnqueueAsync(system.District.Id, operation.Id, null, "test");
            var undone = await system.Follower.RunAsync(system.District.Id, undo, null, CancellationToken.None);
            Say($"undo: {undone.Status} {undone.Counts} {undone.Error}");
            Assert.Equal(OperationStatus.Completed, undone.Status);
            Assert.Equal(before, await UndoTests.PictureAsync(system));
            happened("run undone");
        }

        /// <summary>A waiting hold would be superseded by the next sync: that is no part of what an undo takes back.</summary>
        private async Task SettleAsync()
        {
            var waiting = (await system.Queue.ListAsync(system.District.Id)).FirstOrDefault(o => o.Status == OperationStatus.NeedsApproval);
            if (waiting is null)
            {
                return;
            }

            happened("held");
            var approves = _settled++ % 2 == 0;
            Say($"{(approves ? "approve" : "discard")} {waiting.Id}");
            happened(approves ? "approved" : "discarded");
            if (approves)
            {
                var before = (await system.AllPatronsAsync()).ToDictionary(p => p.Id);
                var approved = await system.ApproveAsync(waiting.Id);
                Assert.Null(approved.Error);
                Assert.True(OperationQueue.CountsOf(approved).AddUp, approved.Counts);

                // What the library marked since the plan holds.
                foreach (var patron in await system.AllPatronsAsync())
                {
                    var was = before[patron.Id];
                    Assert.True(
                        was.Status == patron.Status
                            || !(was.DoNotTransfer || was.KeptFields?.Contains("1026", StringComparison.Ordinal) == true)
                    );
                    Assert.True(was.FirstName == patron.FirstName || was.KeptFields?.Contains("1006", StringComparison.Ordinal) != true);
                }
            }
            else
            {
                await system.Queue.DiscardAsync(system.District.Id, waiting.Id, "test");
            }
        }

        private async Task VanishAsync()
        {
            var school = system.Sandbox.District.Schools.ElementAt(_random.Next(2)).SourcedId;
            var share = _random.Next(1, 10) / 10.0;
            Say($"{share:P0} of {school} vanish");
            var gone = system.Sandbox.Overrides.RemoveShare(school, share);
            await SyncAsync();

            // The librarian looks through those who wait before deciding.
            for (var i = _random.Next(6); i > 0; i--)
            {
                var patrons = (await system.PatronsByGuidAsync()).Values.Where(p => gone.Contains(p.Guid!)).ToList();
                if (patrons.Count == 0)
                {
                    break;
                }

                var patron = patrons[_random.Next(patrons.Count)];
                if (_random.Next(4) == 0)
                {
                    await MergeAsync();
                }
                else
                {
                    await EditAsync(patron);
                }
            }

            await SettleAsync();
            if (_random.Next(3) > 0)
            {
                Say("they come back");
                system.Sandbox.Overrides.Restore("users", gone);
                await SyncAsync();
            }
        }

        private async Task<Patron?> SomebodyAsync()
        {
            var all = await system.AllPatronsAsync();
            return all.Count == 0 ? null : all[_random.Next(all.Count)];
        }

        private async Task EditAsync()
        {
            if (await SomebodyAsync() is { } patron)
            {
                await EditAsync(patron);
            }
        }

        private async Task EditAsync(Patron patron)
        {
            KeyValuePair<string, string?> change = _random.Next(9) switch
            {
                0 => new("status", ((int)Enum.GetValues<PatronStatus>()[_random.Next(6)]).ToString(CultureInfo.InvariantCulture)),
                1 => new("lastName", $"Edited{++_number}"),
                2 => new("email", _random.Next(2) == 0 ? null : "shared@example.org"),
                3 => new("communityId", null),
                4 => new("barcode", $"HAND{++_number}"),
                5 => new("doNotTransfer", _random.Next(2) == 0 ? "true" : null),
                6 => new("keptFields", "1006,1019"),
                7 => new("keptFields", "1026"),
                _ => new("guid", null),
            };
            Say($"edit {patron.Barcode}: {change.Key} = {change.Value}");
            await system.Patrons.EditAsync(system.District.Id, patron.Barcode, [change], "librarian");
        }

        private async Task ImportAsync(int rows)
        {
            var people = system.Sandbox.District.People.Where(p => p.Group is SandboxRoleGroup.Student).ToList();
            var csv = new StringBuilder("barcode,lastName,firstName,email,site\n");
            for (var i = 0; i < rows; i++)
            {
                var person = people[_random.Next(people.Count)];
                var last = person.FamilyName.Length == 0 ? "Nameless" : person.FamilyName;
                csv.Append(
                    CultureInfo.InvariantCulture,
                    $"OLD{++_number:0000},\"{last}\",\"{person.GivenName}\",{(_random.Next(2) == 0 ? "" : person.Email)},S{_random.Next(1, 3)}\n"
                );
            }

            Say($"import\n{csv}");
            var import = await system.ImportAsync(csv.ToString());
            Assert.Null(import.Error);
        }

        private async Task MergeAsync()
        {
            if (await SomebodyAsync() is { } one && await SomebodyAsync() is { } two && one.Id != two.Id)
            {
                Say($"merge {two.Barcode} ({two.Guid}) into {one.Barcode} ({one.Guid})");
                var merge = await system.Get<PatronMerge>().MergeAsync(system.District.Id, one.Barcode, two.Barcode, "librarian");
                if (_merged++ % 2 == 0)
                {
                    happened("merge undone");
                    Say("and undo it");
                    var undo = await system.Get<UndoService>().EnqueueAsync(system.District.Id, merge, null, "librarian");
                    var undone = await system.Follower.RunAsync(system.District.Id, undo, null, CancellationToken.None);
                    Assert.Equal(OperationStatus.Completed, undone.Status);
                }
            }
        }

        /// <summary>A merge or a decision of long ago is taken back: what came since may stay, or forbid it, but nothing breaks.</summary>
        private async Task UndoLateAsync()
        {
            var old = (await system.Queue.ListAsync(system.District.Id))
                .Where(o => o.Kind is OperationKind.Merge or OperationKind.Review && UndoService.Refusal(o) is null)
                .ToList();
            if (old.Count == 0)
            {
                return;
            }

            var subject = old[_random.Next(old.Count)];
            Say($"undo {OperationQueue.KindWord(subject.Kind)} {subject.Id} late");
            try
            {
                var undo = await system.Get<UndoService>().EnqueueAsync(system.District.Id, subject.Id, null, "librarian");
                var undone = await system.Follower.RunAsync(system.District.Id, undo, null, CancellationToken.None);
                Say($"undo: {undone.Status} {undone.Counts} {undone.Error}");
                Assert.True(OperationQueue.CountsOf(undone).AddUp);
                Assert.True(
                    undone.Status is OperationStatus.Completed or OperationStatus.CompletedWithWarnings
                        || undone.Error!.Contains("then undo again", StringComparison.Ordinal)
                );
            }
            catch (RollcallException e)
            {
                Say($"refused: {e.Message}");
                Assert.Contains("first, then this one", e.Message, StringComparison.Ordinal);
            }
        }

        private async Task DecideAsync()
        {
            var waiting = await system.Get<ReviewService>().ListAsync(system.District.Id);
            if (waiting.Count == 0)
            {
                return;
            }

            var item = waiting[_random.Next(waiting.Count)];
            var decisions = system.Get<ReviewDecisions>();
            try
            {
                var done = _random.Next(3) switch
                {
                    0 when item.Candidates.Count > 0 => await decisions.LinkAsync(
                        system.District.Id,
                        item.Id,
                        item.Candidates[0],
                        "librarian"
                    ),
                    1 => await decisions.CreateAsync(system.District.Id, item.Id, "librarian"),
                    _ => await decisions.IgnoreAsync(system.District.Id, item.Id, "librarian"),
                };
                Say($"review {item.Id} ({item.Reason}): {done.Message}");
            }
            catch (RollcallException e)
            {
                Say($"review {item.Id} refused: {e.Message}");
            }
        }

        private async Task CheckAsync()
        {
            var all = await system.AllPatronsAsync();
            Assert.Equal(all.Count, all.Select(p => p.BarcodeKey).Distinct().Count());
            var guids = all.Where(p => p.Guid is not null).Select(p => p.Guid!).ToList();
            Assert.Equal(guids.Count, guids.Distinct().Count());
            Assert.All(all, p => Assert.Null(Barcodes.Problem(p.Barcode)));
            Assert.All(all, p => Assert.NotEqual("", p.LastName));
            await using var context = system.Database.CreateContext();
            var aliases = context
                .PatronLinks.Where(l => l.Aliases != null)
                .Select(l => l.Aliases!)
                .AsEnumerable()
                .SelectMany(a => a.Split('\n'))
                .ToList();
            Assert.Equal(aliases.Count, aliases.Distinct().Count());
            Assert.Empty(aliases.Intersect(guids));
            Assert.DoesNotContain(
                await system.Queue.ListAsync(system.District.Id),
                o => o.Status is OperationStatus.Running or OperationStatus.Waiting
            );
        }
    }
}
