using System.Globalization;
using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Review;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Sync.Undo;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>Everything that writes, with each statement and each request failing in turn: whoever starts again comes to the end of an
/// undisturbed run. Usually a few statements of each step are tried; ROLLCALL_EVERY_FAULT=true tries them all.</summary>
public sealed class FailureTests(PostgresCluster cluster)
{
    private static readonly bool s_every = Environment.GetEnvironmentVariable("ROLLCALL_EVERY_FAULT") == "true";
    private static readonly DateTimeOffset s_began = new(2026, 10, 1, 12, 0, 0, TimeSpan.Zero);

    private static readonly string[] s_forGood = ["500@{0}+"];
    private static readonly string[] s_faults = ["500@{0}", "drop-connection@{0}", "500@{0}+", "cut-json@{0}+"];

    /// <summary>One thing that somebody does. It can be asked for again, as people do when something failed.</summary>
    private sealed record Step(
        string Name,
        Action<SandboxServer> Arrange,
        Func<Installation, Task> DoAsync,
        Func<Installation, DateTimeOffset, Task<bool>> IsDoneAsync
    )
    {
        public bool Pulls { get; init; }
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whatever_statement_fails_the_end_is_the_same(Db db)
    {
        await using var story = await Story.BeginAsync(cluster, db);
        var tried = 0;
        foreach (var step in Steps())
        {
            var calm = await story.EnterAsync(step);
            if (story.FirstRow is > 0 and var row)
            {
                // Rows that are written in bulk are few among the statements of a step: the first, and one in the middle, fail in any case.
                foreach (var (kind, at) in ((FaultKind, int)[])[(FaultKind.Before, row), (FaultKind.After, story.MiddleRow)])
                {
                    Assert.True(await story.TryAsync(kind, at, calm));
                    tried++;
                }
            }

            foreach (var kind in Enum.GetValues<FaultKind>())
            {
                // A copy of a PostgreSQL database takes a second: half as many there.
                var stride = s_every ? 1 : (story.Statements / (db == Db.Postgres ? 1 : 2)) + 1;
                for (var at = s_every ? 1 : 1 + (tried * 7 % stride); ; at += stride)
                {
                    if (!await story.TryAsync(kind, at, calm))
                    {
                        break;
                    }

                    tried++;
                }
            }
        }

        TestContext.Current.TestOutputHelper?.WriteLine($"{db}: {tried} statements failed");
        Assert.True(tried > 40);
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Whatever_request_fails_the_end_is_the_same(Db db)
    {
        await using var story = await Story.BeginAsync(cluster, db);
        var tried = 0;
        foreach (var step in Steps())
        {
            var calm = await story.EnterAsync(step);
            if (!step.Pulls)
            {
                continue;
            }

            // Once, which a repetition heals, and for good, which fails the run before anything is written.
            foreach (var fault in db == Db.Postgres && !s_every ? s_forGood : s_faults)
            {
                for (var at = 1; ; at += db == Db.Postgres && !s_every ? 3 : 1)
                {
                    if (!await story.TryRequestAsync(string.Format(CultureInfo.InvariantCulture, fault, at), at, fault.EndsWith('+'), calm))
                    {
                        break;
                    }

                    tried++;
                }
            }

            await story.TryRequestAsync("500:applications@1+", 1, forGood: true, calm);
        }

        TestContext.Current.TestOutputHelper?.WriteLine($"{db}: {tried} requests failed");
        Assert.True(tried > 10);
    }

    /// <summary>A sync so small that all of its statements and requests fail, in every way, in each usual run; on PostgreSQL when all are asked for.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Every_statement_of_a_small_sync_fails_in_turn(Db db)
    {
        await using var story = await Story.BeginAsync(cluster, db);
        var calm = await story.EnterAsync(SmallSync());
        var (tried, expected) = (0, 0);
        foreach (var kind in Enum.GetValues<FaultKind>())
        {
            // To copy a PostgreSQL database takes half a second: there each way meets other ones of the statements, unless all are asked for.
            var stride = db == Db.Postgres && !s_every ? 8 : 1;
            for (var at = 1 + ((int)kind * 2 % stride); at <= story.Statements; at += stride)
            {
                expected++;
                tried += await story.TryAsync(kind, at, calm) ? 1 : 0;
            }
        }

        Assert.Equal(expected, tried);
        var requests = 0;
        var faults = db == Db.Postgres && !s_every ? s_forGood : s_faults;
        foreach (var fault in faults)
        {
            for (var at = 1; ; at++)
            {
                if (!await story.TryRequestAsync(string.Format(CultureInfo.InvariantCulture, fault, at), at, fault.EndsWith('+'), calm))
                {
                    break;
                }

                requests++;
            }
        }

        TestContext.Current.TestOutputHelper?.WriteLine($"{db}: {tried} statements and {requests} requests failed");
        Assert.True(requests >= 4 * faults.Length, $"{requests} requests");
    }

    private static Step SmallSync() =>
        new(
            "a small first sync",
            static s =>
            {
                s.OnlyMine();
                var one = s.District.Schools.First().SourcedId;
                Put(s, "u1", "Ann", "Alpha", one, number: "1001", barcode: "CARD-1");
                Put(s, "u2", "Ben", "Beta", one, email: "ben@x.org");
                Put(s, "t1", "Tea", "Cher", one, role: "teacher");
                s.Homeroom("h1", "Room 1");
                s.Enroll("e1", "u1", "h1");
            },
            static s => s.SyncAsync(),
            Ended(OperationKind.FullSync)
        )
        {
            Pulls = true,
        };

    private static IEnumerable<Step> Steps()
    {
        const string csv = """
            barcode,communityId,firstName,lastName,email,site
            OLD-1,1001,Ann,Alpha,,S1
            OLD-2,,Ben,Beta,ben@x.org,S1
            OLD-3,1003,Cid,Gamma,,S1
            OLD-4,1003,Cid,Gamma,,S2
            OLD-5,,Eve,Other,eve@x.org,S2
            """;
        yield return new Step(
            "import",
            static s =>
            {
                s.OnlyMine();
                var (one, two) = (s.District.Schools.First().SourcedId, s.District.Schools.Last().SourcedId);
                Put(s, "u1", "Ann", "Alpha", one, number: "1001", barcode: "CARD-1");
                Put(s, "u2", "Ben", "Beta", one, email: "ben@x.org", barcode: "CARD-2");
                Put(s, "u3", "Cid", "Gamma", one, number: "1003");
                Put(s, "u4", "Eve", "Epsilon", two, email: "eve@x.org");
                for (var i = 10; i < 16; i++)
                {
                    Put(s, $"u{i}", $"New{i}", $"Person{i}", i % 2 == 0 ? one : two, barcode: i == 12 ? "CARD-12" : null);
                }

                Put(s, "t1", "Tea", "Cher", one, role: "teacher");
                s.Homeroom("h1", "Room 1");
                s.Homeroom("h2", "Room 2");
                s.Enroll("e1", "u1", "h1");
                s.Enroll("e12", "u12", "h1");
                s.Enroll("t1", "t1", "h1", role: "teacher");
            },
            static s => s.ImportAsync(csv),
            Ended(OperationKind.Import)
        );
        yield return new Step("first sync", static _ => { }, static s => s.SyncAsync(), Ended(OperationKind.FullSync)) { Pulls = true };
        yield return new Step(
            "review: link",
            static _ => { },
            static async s =>
            {
                var item = (await s.Get<ReviewService>().ListAsync(s.District.Id)).Single(i => i.Guid == "u3");
                await s.Get<ReviewDecisions>().LinkAsync(s.District.Id, item.Id, "OLD-3", "librarian");
            },
            static async (s, _) => (await s.Get<ReviewService>().ListAsync(s.District.Id)).All(i => i.Guid != "u3")
        );
        yield return new Step(
            "review: create",
            static _ => { },
            static async s =>
            {
                var item = (await s.Get<ReviewService>().ListAsync(s.District.Id)).Single(i => i.Guid == "u4");
                await s.Get<ReviewDecisions>().CreateAsync(s.District.Id, item.Id, "librarian");
            },
            static async (s, _) => (await s.Get<ReviewService>().ListAsync(s.District.Id)).All(i => i.Guid != "u4")
        );
        yield return new Step(
            "merge",
            static _ => { },
            static s => s.Get<PatronMerge>().MergeAsync(s.District.Id, "OLD-3", "OLD-4", "librarian"),
            static async (s, _) => (await s.AllPatronsAsync()).All(p => p.Barcode != "OLD-4")
        );
        yield return new Step(
            "a later day, with a hold",
            static s =>
            {
                var (one, two) = (s.District.Schools.First().SourcedId, s.District.Schools.Last().SourcedId);

                // Cards change hands; somebody moves, somebody is renamed, somebody comes, and a whole school is gone but for one.
                Put(s, "u1", "Ann", "Alpha", one, number: "1001", barcode: "CARD-2");
                Put(s, "u2", "Ben", "Beta", two, email: "ben@x.org", barcode: "CARD-1");
                Put(s, "u12", "New12", "Renamed", one, barcode: "CARD-12");
                Put(s, "u20", "Late", "Comer", one);
                Put(s, "u14", "New14", "Person14", one, status: "tobedeleted");
                s.Overrides.Remove("users", "u11", "u13", "u15");
            },
            static s => s.SyncAsync(),
            Ended(OperationKind.FullSync)
        )
        {
            Pulls = true,
        };
        yield return new Step(
            "approve",
            static _ => { },
            static async s =>
            {
                var waiting = (await s.Queue.ListAsync(s.District.Id)).FirstOrDefault(o => o.Status == OperationStatus.NeedsApproval);
                waiting ??= await s.SyncAsync();
                await s.ApproveAsync(waiting.Id);
            },
            static async (s, _) =>
                (await s.Queue.ListAsync(s.District.Id)).First(o => o.Kind == OperationKind.FullSync)
                    is { ApprovedAt: not null, Status: OperationStatus.Completed or OperationStatus.CompletedWithWarnings }
        );
        yield return new Step(
            "changes sync",
            static s =>
            {
                var one = s.District.Schools.First().SourcedId;
                const string later = "2026-10-01T19:30:00.000Z";
                Put(s, "u12", "New12", "Renamed-Again", one, barcode: "CARD-12", modified: later);
                Put(s, "u21", "Very", "Late", one, modified: later);
                Put(s, "u10", "New10", "Person10", one, status: "tobedeleted", modified: later);
                s.Enroll("e12", "u12", "h2", modified: later);
                s.Enroll("e21", "u21", "h1", modified: later);
            },
            static s => s.SyncAsync(kind: OperationKind.ChangesSync),
            Ended(OperationKind.ChangesSync)
        )
        {
            Pulls = true,
        };
        yield return new Step(
            "a changes sync that goes on from the one before",
            static s =>
            {
                const string later = "2026-10-01T20:30:00.000Z";
                s.Enroll("e21", "u21", "h1", status: "tobedeleted", modified: later);
                s.Homeroom("h2", "Room 2, renamed", modified: later);
                s.Enroll("t1", "t1", "h2", role: "teacher", modified: later);
            },
            static s => s.SyncAsync(kind: OperationKind.ChangesSync),
            Ended(OperationKind.ChangesSync)
        )
        {
            Pulls = true,
        };
        yield return new Step(
            "edit",
            static _ => { },
            static s => s.Patrons.EditAsync(s.District.Id, "CARD-12", [new("notes", "by hand"), new("phone", "7")], "librarian"),
            static async (s, _) => (await s.AllPatronsAsync()).Any(p => p.Notes == "by hand")
        );
        yield return new Step(
            "undo",
            static _ => { },
            static async s =>
            {
                var subject = (await s.Queue.ListAsync(s.District.Id)).First(o => o.ApprovedAt is not null);
                await UndoTests.UndoAsync(s, subject.Id);
            },
            Ended(OperationKind.Undo)
        );
        yield return new Step("sync after the undo", static _ => { }, static s => s.SyncAsync(), Ended(OperationKind.FullSync))
        {
            Pulls = true,
        };
        yield return new Step(
            "switch",
            static _ => { },
            static s => s.Integrations.ConnectAsync(s.District, IntegrationKind.ClassLink, Elsewhere(s), true, true, "test"),
            Ended(OperationKind.Switch)
        );
        yield return new Step(
            "undo of the switch",
            static _ => { },
            static async s =>
            {
                var subject = (await s.Queue.ListAsync(s.District.Id)).First(o => o.Kind == OperationKind.Switch);
                await UndoTests.UndoAsync(s, subject.Id);
            },
            static async (s, _) =>
                (await s.Queue.ListAsync(s.District.Id)).First(o => o.Kind == OperationKind.Switch).Status == OperationStatus.Undone
        );
    }

    /// <summary>The same roster by a pasted prefix, as another tenant.</summary>
    internal static ConnectRequest Elsewhere(Installation system) =>
        new(
            ConnectionMode.Prefix,
            "9999",
            $"{system.Sandbox.Url}{system.Sandbox.Options.ApplicationId}/ims/oneroster/v1p1/",
            Secret: system.Sandbox.Options.Bearer
        );

    private static void Put(
        SandboxServer sandbox,
        string id,
        string given,
        string family,
        string org,
        string? number = null,
        string? email = null,
        string? barcode = null,
        string role = "student",
        string status = "active",
        string modified = "2026-01-01T00:00:00.000Z"
    ) => sandbox.Person(id, given, family, number, email, barcode, role, status, [org], modified: modified);

    /// <summary>An operation of this kind came to its end in this step.</summary>
    private static Func<Installation, DateTimeOffset, Task<bool>> Ended(OperationKind kind) =>
        async (system, began) =>
            (await system.Queue.ListAsync(system.District.Id)).Any(o =>
                o.Kind == kind
                && o.CreatedAt >= began
                && o.Status is OperationStatus.Completed or OperationStatus.CompletedWithWarnings or OperationStatus.NeedsApproval
            );

    /// <summary>What there is at an instant: all that people see, and how the operations of the step went.</summary>
    private sealed record Picture(string Outcome, string Run);

    /// <summary>Data of an installation that nobody has open.</summary>
    private sealed record State(TempFolder Folder, string? Database);

    /// <summary>One district's data, copied before each step, so that the step can be tried again and again.</summary>
    private sealed class Story : IAsyncDisposable
    {
        private readonly PostgresCluster _cluster;
        private readonly Installation _first;
        private readonly StatementFault _fault = new();
        private State? _before;
        private State? _after;
        private Picture? _was;
        private Step _step = null!;
        private int _number;

        private Story(PostgresCluster cluster, Installation first) => (_cluster, _first) = (cluster, first);

        /// <summary>Statements of the step when nothing fails.</summary>
        public int Statements { get; private set; }

        /// <summary>Which statement writes the first row in bulk on SQLite, and which one in the middle; 0 where none does.</summary>
        public int FirstRow { get; private set; }
        public int MiddleRow { get; private set; }

        // Each step has an hour of its own, so that its operations are known from those before.
        private DateTimeOffset Began => s_began.AddHours(_number);

        public static async Task<Story> BeginAsync(PostgresCluster cluster, Db db)
        {
            var first = await Installation.StartAsync(
                cluster,
                db,
                new SandboxOptions { Students = 20, Schools = 2 },
                new HurriedTime(s_began)
            );
            await first.ConfigureAsync(s =>
                s with
                {
                    Map = new FieldMap
                    {
                        CommunityId = new IdMapping(IdSource.Identifier),
                        Barcode = new IdMapping(IdSource.UserIdType, "Card"),
                        Location = LocationSource.ClassTitle,
                    },
                    Thresholds = new Thresholds { Transfers = new Threshold(10, 3) },
                }
            );
            return new Story(cluster, first);
        }

        /// <summary>Goes through the step undisturbed, and keeps what was before and what is after.</summary>
        public async Task<Picture> EnterAsync(Step step)
        {
            _step = step;
            _number++;
            step.Arrange(_first.Sandbox);
            if (_before is not null)
            {
                await DropAsync(_before);
            }

            _before =
                _after ?? await CopyAsync(_first.Database.DataFolder, _first.Database.IsPostgres ? _first.Database.ConnectionString : null);
            await using (var system = Open(_before))
            {
                _was = await PictureAsync(system);
            }

            _after = await CopyAsync(_before);
            Picture calm;
            await using (var wire = Wire(_after))
            {
                await using var system = Open(_after, wire);
                _fault.Arm(FaultKind.Before, 0);
                await step.DoAsync(system);
                Statements = _fault.Seen;
                var written = _fault.Rows;
                (FirstRow, MiddleRow) = written.Count == 0 ? (0, 0) : (written[0], written[written.Count / 2]);
                _fault.Disarm();
                Assert.True(await step.IsDoneAsync(system, Began), $"{step.Name} does not come to its end undisturbed");
                calm = await PictureAsync(system);
            }

            Assert.NotEqual(_was.Outcome, calm.Outcome);
            return calm;
        }

        /// <returns>False when the step has no such statement.</returns>
        public async Task<bool> TryAsync(FaultKind kind, int at, Picture calm)
        {
            var state = await CopyAsync(_before!);
            Exception? fault = null;
            await using (var wire = Wire(state))
            {
                await using var system = Open(state, wire);
                _fault.Arm(kind, at);
                try
                {
                    await _step.DoAsync(system);
                }
                catch (Exception e)
                {
                    fault = e;
                }
                finally
                {
                    _fault.Disarm();
                }
            }

            if (fault is not null && !_fault.Fired)
            {
                throw new InvalidOperationException($"{_step.Name} broke although nothing failed", fault);
            }

            var fired = _fault.Fired;
            if (fired)
            {
                try
                {
                    AssertExpected(fault);
                    await using var system = Open(state);
                    await RecoverAsync(system, calm, kind);
                }
                catch (Exception e)
                {
                    throw new InvalidOperationException(
                        $"{_step.Name}: {kind} at statement {at} of {Statements} ({fault?.ToString() ?? "no error shown"}): {e.Message}",
                        e
                    );
                }
            }

            await DropAsync(state);
            return fired;
        }

        /// <returns>False when the step makes no such request.</returns>
        public async Task<bool> TryRequestAsync(string fault, int at, bool forGood, Picture calm)
        {
            var state = await CopyAsync(_before!);
            bool fired;
            await using (var system = Open(state))
            {
                var requests = _first.Sandbox.Requests.Count;
                _first.Sandbox.Faults.Set(fault);
                await _step.DoAsync(system);
                _first.Sandbox.Faults.Clear();
                fired =
                    _first.Sandbox.Requests.Skip(requests).Count(r => r.Collection != "applications") >= at
                    || fault.Contains("applications", StringComparison.Ordinal);
                try
                {
                    // An empty last page has no record to be cut in: the run is done, and has to be as an undisturbed one.
                    var nothingCut = fault.StartsWith("cut-json", StringComparison.Ordinal) && await _step.IsDoneAsync(system, Began);
                    if (fired && forGood && !nothingCut)
                    {
                        Assert.Equal(OperationStatus.Failed, (await system.Queue.ListAsync(system.District.Id))[0].Status);
                        Assert.Equal(_was!.Outcome, (await PictureAsync(system)).Outcome);
                    }
                    else
                    {
                        Assert.True(await _step.IsDoneAsync(system, Began), "A fault that passes stopped the run");
                    }

                    await RecoverAsync(system, calm, kind: null);
                }
                catch (Exception e)
                {
                    throw new InvalidOperationException($"{_step.Name}: {fault}: {e.Message}", e);
                }
            }

            await DropAsync(state);
            return fired;
        }

        /// <summary>Nothing but the database's own fault may come out, and what is made of it in words.</summary>
        private static void AssertExpected(Exception? fault)
        {
            for (var e = fault; e is not null; e = e.InnerException)
            {
                if (DatabaseErrors.IsFault(e) || e is RollcallException)
                {
                    return;
                }
            }

            Assert.Null(fault);
        }

        /// <summary>Another process goes on, and people ask again for what did not come about.</summary>
        private async Task RecoverAsync(Installation system, Picture calm, FaultKind? kind)
        {
            var district = system.District.Id;
            await using (var context = system.Database.CreateContext())
            {
                await context.Operations.ExecuteUpdateAsync(s => s.SetProperty(o => o.LeaseUntil, 0));
            }

            while (await system.Get<OperationWorker>().WorkAsync(null, null, CancellationToken.None)) { }

            var again = 0;
            while (!await _step.IsDoneAsync(system, Began))
            {
                Assert.True(++again <= 2, "It does not come to its end when it is asked for again");
                await _step.DoAsync(system);
            }

            var operations = await system.Queue.ListAsync(district, withEdits: true);
            if (kind is FaultKind.Before or FaultKind.After)
            {
                // A fault that passes fails no operation; only a plan that a person makes has to be asked for again.
                Assert.DoesNotContain(
                    operations,
                    o => o.Status == OperationStatus.Failed && !o.Error!.StartsWith("Its plan is not complete", StringComparison.Ordinal)
                );
            }

            Assert.DoesNotContain(operations, o => o.Status is OperationStatus.Running or OperationStatus.Waiting);
            Assert.All(operations, o => Assert.True(o.Kind == OperationKind.Undo || OperationQueue.CountsOf(o).AddUp, o.Counts));
            Assert.All(
                operations,
                o => Assert.Equal(o.Status is OperationStatus.Failed or OperationStatus.Superseded, o.Error is not null)
            );
            var picture = await PictureAsync(system);
            Assert.Equal(calm.Outcome, picture.Outcome);
            if (again == 0 && operations.All(o => o.Status != OperationStatus.Failed))
            {
                Assert.Equal(calm.Run, picture.Run);
            }
        }

        private CutWire? Wire(State state) => state.Database is null ? null : new CutWire(state.Database, _fault);

        private Installation Open(State state, CutWire? wire)
        {
            var system = Installation.Open(
                state.Folder.Path,
                wire?.Connection,
                _first,
                new HurriedTime(Began),
                c => new FaultySqliteConnection(c, _fault)
            );

            // Rows that are written in bulk go past the provider's commands: each of them is a statement, too.
            if (system.Database.Bulk is SqliteBulk bulk)
            {
                bulk.Stepping = _fault.Step;
            }

            return system;
        }

        private Installation Open(State state) => Installation.Open(state.Folder.Path, state.Database, _first, new HurriedTime(Began));

        private Task<State> CopyAsync(State state) => CopyAsync(state.Folder.Path, state.Database);

        private async Task<State> CopyAsync(string folder, string? database)
        {
            var copy = new TempFolder();
            if (database is null)
            {
                // The last connection that closes folds the log into the file.
                SqliteConnection.ClearAllPools();
            }

            foreach (var file in Directory.GetFiles(folder))
            {
                File.Copy(file, Path.Combine(copy.Path, Path.GetFileName(file)));
            }

            return new State(copy, database is null ? null : await _cluster.CopyDatabaseAsync(database));
        }

        private async Task DropAsync(State state)
        {
            state.Folder.Dispose();
            if (state.Database is not null)
            {
                await _cluster.DropDatabaseAsync(state.Database);
            }
        }

        private async Task<Picture> PictureAsync(Installation system)
        {
            var district = system.District.Id;
            var patrons = await UndoTests.PictureAsync(system);
            var versions = (await system.AllPatronsAsync()).Select(p => $"{p.Barcode} version {p.Version}").Order(StringComparer.Ordinal);
            await using var context = system.Database.CreateContext();
            var sites = await context.Sites.AsNoTracking().OrderBy(s => s.Id).ToListAsync();
            var orgs = await context.SiteOrgs.AsNoTracking().OrderBy(o => o.OrgId).ToListAsync();
            var reviews = await context.ReviewItems.AsNoTracking().OrderBy(r => r.RosterId).ToListAsync();
            var integrations = await context.Integrations.AsNoTracking().OrderBy(i => i.Kind).ToListAsync();
            var outcome = string.Join(
                '\n',
                [
                    .. patrons.Values,
                    .. versions,
                    .. sites.Select(s => $"site {s.Code} {s.Guid} {s.NextBarcode}"),
                    .. orgs.Select(o => $"org {o.Kind} {o.OrgId} {o.SiteId} {o.Position}"),
                    .. reviews.Select(r => $"review {r.RosterId} {r.Status} {r.Reason} {r.DecidedBy}"),
                    .. integrations.Select(i =>
                    {
                        var (settings, state) = (IntegrationService.SettingsOf(i), IntegrationService.StateOf(i));
                        return $"{i.Kind} {i.Enabled} {settings.Mode} {settings.TenantId} {settings.Daily.StoppedBecause is null} {i.Secret is null} "
                            + $"{state.ConfigVersion} {state.FullDue is null} {state.ChangesRan} {state.LastFullAt is null} {state.ChangesSince is null} {state.Homerooms is null}";
                    }),
                ]
            );
            var run = new List<string>();
            run.AddRange(
                integrations.Select(IntegrationService.StateOf).Select(s => $"full {s.LastFullAt:HH}, changes since {s.ChangesSince:HH}")
            );
            foreach (var operation in (await system.Queue.ListAsync(district, withEdits: true)).Where(o => o.CreatedAt >= Began))
            {
                run.Add($"{operation.Kind} {operation.Status} {operation.Counts} {operation.Warnings}");
                run.AddRange(
                    (await system.LogAsync(operation.Id)).Select(r =>
                        $"{r.Kind} {r.Outcome} {r.Guid} {r.MatchedBy} {r.Reason} {r.Warning} {r.Held} {r.Stale} "
                        + string.Join(';', r.Changes.Select(c => $"{c.Field} {c.Old} {c.New}"))
                    )
                );
            }

            return new Picture(outcome, string.Join('\n', run));
        }

        public async ValueTask DisposeAsync()
        {
            foreach (var state in (State?[])[_before, _after])
            {
                if (state is not null)
                {
                    await DropAsync(state);
                }
            }

            await _first.DisposeAsync();
        }
    }
}
