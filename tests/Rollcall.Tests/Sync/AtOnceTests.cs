using System.Diagnostics;
using System.Text;
using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Storage;
using Rollcall.Sync;
using Rollcall.Sync.Apply;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>Syncs, an import and librarians at once: everything comes to its end, no edit is lost, nobody is doubled.</summary>
public sealed class AtOnceTests(PostgresCluster cluster)
{
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Syncs_an_import_and_edits_at_once_lose_nothing(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 300, Schools = 3 });
        await system.SyncAsync();
        system.Sandbox.SetDay(2);
        var edited = (await system.AllPatronsAsync()).Where(p => p.Guid is not null).Take(40).ToList();
        var imported = string.Join('\n', Enumerable.Range(0, 60).Select(i => $"IMP{i:000},Imported{i},Ida,S1"));
        using var file = new MemoryStream(Encoding.UTF8.GetBytes($"barcode,lastName,firstName,site\n{imported}\n"));
        var import = await system.Get<PatronImport>().PlanAsync(system.District.Id, file, "at once.csv", preview: false, "test");

        var syncs = Enumerable.Range(0, 3).Select(_ => Task.Run(() => system.SyncAsync())).ToList();
        var importing = Task.Run(() => system.Follower.RunAsync(system.District.Id, import, null, CancellationToken.None));
        var editing = Task.Run(async () =>
        {
            foreach (var patron in edited)
            {
                // One field the roster never writes, and one it always wins.
                await system.Patrons.EditAsync(
                    system.District.Id,
                    patron.Barcode,
                    [new("notes", $"note {patron.Id}"), new("firstName", "Edited")],
                    "librarian"
                );
            }
        });
        var adding = Task.Run(async () =>
        {
            for (var i = 0; i < 20; i++)
            {
                await system.Patrons.AddAsync(system.District.Id, [new("lastName", $"Added{i}"), new("site", "S2")], "librarian");
            }
        });
        await Task.WhenAll(editing, adding);
        foreach (var operation in await Task.WhenAll([.. syncs, importing]))
        {
            Assert.Null(operation.Error);
            Assert.True(OperationQueue.CountsOf(operation).AddUp, operation.Counts);
        }

        var last = await system.SyncAsync();
        Assert.Null(last.Error);
        var all = await system.AllPatronsAsync();
        Assert.Equal(all.Count, all.Select(p => p.BarcodeKey).Distinct().Count());
        Assert.Equal(60, all.Count(p => p.LastName.StartsWith("Imported", StringComparison.Ordinal)));
        Assert.Equal(20, all.Count(p => p.LastName.StartsWith("Added", StringComparison.Ordinal)));
        var byId = all.ToDictionary(p => p.Id);
        foreach (var patron in edited)
        {
            Assert.Equal($"note {patron.Id}", byId[patron.Id].Notes);
            var person = system.Sandbox.District.Find(patron.Guid!)!;
            if (person.Presence == SandboxPresence.Present)
            {
                Assert.Equal(person.GivenName, byId[patron.Id].FirstName);
            }
        }

        // A calm installation that went the same way knows the same people.
        await using var calm = await Installation.StartAsync(cluster, Db.Sqlite, new SandboxOptions { Students = 300, Schools = 3 });
        await calm.SyncAsync();
        calm.Sandbox.SetDay(2);
        await calm.SyncAsync();
        var guids = (await calm.PatronsByGuidAsync()).Keys.ToHashSet(StringComparer.Ordinal);
        var byHand = edited.Select(p => p.Guid!).ToHashSet(StringComparer.Ordinal);
        Assert.Equal(await LinesAsync(calm), await LinesAsync(system));

        // All of each of them, but for numbers that were given in another order, and for what the librarian alone writes, or wrote of somebody who
        // has left since.
        async Task<SortedDictionary<string, string>> LinesAsync(Installation of)
        {
            var lines = new SortedDictionary<string, string>(StringComparer.Ordinal);
            foreach (var (guid, picture) in (await UndoTests.PictureAsync(of)).Where(p => guids.Contains(p.Key) || byHand.Contains(p.Key)))
            {
                var left = system.Sandbox.District.Find(guid)!.Presence != SandboxPresence.Present;
                lines[guid] = string.Join(
                    '\n',
                    picture
                        .Split('\n')
                        .Where(l => !l.StartsWith("barcode=", StringComparison.Ordinal))
                        .Where(l => !byHand.Contains(guid) || !l.StartsWith("notes=", StringComparison.Ordinal))
                        .Where(l =>
                            !byHand.Contains(guid)
                            || !left
                            || !(l.StartsWith("firstName=", StringComparison.Ordinal) || l.StartsWith("link=", StringComparison.Ordinal))
                        )
                );
            }

            return lines;
        }
    }

    /// <summary>Two librarians press the same button.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task What_is_approved_twice_at_once_is_done_once(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 20, Schools = 2 });
        system.Sandbox.OnlyMine();
        for (var i = 1; i <= 40; i++)
        {
            system.Sandbox.Person($"p{i:00}", "Pat", $"Person{i:00}");
        }

        await system.SyncAsync();
        system.Sandbox.Overrides.Remove("users", Enumerable.Range(1, 15).Select(i => $"p{i:00}").ToArray());
        var held = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        var before = (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version);
        var approved = await Task.WhenAll(Enumerable.Range(1, 4).Select(i => Task.Run(() => TryAsync($"librarian {i}"))));
        var by = Assert.Single(approved, a => a.Refusal is null).By;
        Assert.All(approved.Where(a => a.Refusal is not null), a => Assert.Contains($"{held.Id}", a.Refusal, StringComparison.Ordinal));
        var ended = await Task.WhenAll(
            Enumerable
                .Range(1, 2)
                .Select(_ => Task.Run(() => system.Follower.RunAsync(system.District.Id, held.Id, null, CancellationToken.None)))
        );
        Assert.All(ended, e => Assert.Equal((by, null), (e.ApprovedBy, e.Error)));
        Assert.All(ended, e => Assert.True(e.Status is OperationStatus.Completed or OperationStatus.CompletedWithWarnings, $"{e.Status}"));
        Assert.Equal((15, 15, 0), OperationQueue.CountsOf(ended[0]) is var c ? (c.Transferred, c.Absent, c.Held) : default);
        Assert.Equal(
            15,
            (await system.AllPatronsAsync()).Count(p => p.Version == before[p.Id] + 1 && p.Status == PatronStatus.Transferred)
        );
        Assert.Equal(25, (await system.AllPatronsAsync()).Count(p => p.Version == before[p.Id]));

        async Task<(string By, string? Refusal)> TryAsync(string librarian)
        {
            try
            {
                await system.Queue.ApproveAsync(system.District.Id, held.Id, librarian);
                return (librarian, null);
            }
            catch (RollcallException e)
            {
                return (librarian, e.Message);
            }
        }
    }

    private static readonly AsyncLocal<Action<string>?> s_writing = new();

    /// <summary>A slice writes the very patron whom somebody edits at that moment: one of both waits, and then builds on what the other one wrote.</summary>
    [Theory]
    [InlineData(Db.Sqlite, false)]
    [InlineData(Db.Postgres, false)]
    [InlineData(Db.Sqlite, true)]
    [InlineData(Db.Postgres, true)]
    public async Task An_edit_of_the_patron_whom_a_slice_writes_comes_before_it_or_after_it(Db db, bool editFirst)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 20, Schools = 2 });
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "1");
        await system.SyncAsync();
        var patron = (await system.PatronsByGuidAsync())["p1"];
        system.Sandbox.Person("p1", "Adah", "Byron", phone: "2");
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == WritingTrace.Name,
            Sample = (ref _) => ActivitySamplingResult.PropagationData,
            // Other tests write, too: this is told in the flow of the sync that is meant.
            ActivityStarted = activity => s_writing.Value?.Invoke("begins: " + activity.OperationName),
            ActivityStopped = activity => s_writing.Value?.Invoke("ended: " + activity.OperationName),
        };
        ActivitySource.AddActivityListener(listener);
        var second = Task.CompletedTask;
        var met = 0;
        s_writing.Value = at =>
        {
            if (at == (editFirst ? "ended: rows read" : "begins: patrons written") && Interlocked.Exchange(ref met, 1) == 0)
            {
                if (editFirst)
                {
                    var edit = Task.Run(WriteAsync).GetAwaiter().GetResult();
                    second = Task.Run(async () =>
                    {
                        await Task.Delay(300);
                        await edit.CommitAsync(CancellationToken.None);
                        await edit.DisposeAsync();
                    });
                    return;
                }

                second = Task.Run(() =>
                    system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new("notes", "by hand"), new("phone", "3")], "librarian")
                );

                // It cannot be done before the slice is.
                Assert.False(second.Wait(TimeSpan.FromMilliseconds(300)));
            }
        };
        var sync = await system.SyncAsync();
        s_writing.Value = null;
        await second;
        Assert.Equal(1, met);
        Assert.Null(sync.Error);
        var counts = OperationQueue.CountsOf(sync);
        Assert.Equal((1, true), (counts.Updated, counts.AddUp));
        Assert.Equal(editFirst, OperationQueue.WarningsOf(sync).Any(w => w.Code == "changed-since-plan"));
        var now = (await system.PatronsByGuidAsync())["p1"];
        Assert.Equal(("Adah", editFirst ? "2" : "3", "by hand"), (now.FirstName, now.Phone, now.Notes));
        Assert.Equal(patron.Version + 2, now.Version);

        // Each tells what it found and what it wrote.
        var phones = (await system.Get<OperationLog>().HistoryAsync(system.District.Id, now.Id))
            .SelectMany(h => h.Row.Changes.Where(c => c.Field == "phone"))
            .Select(c => (c.Old, c.New))
            .ToHashSet();
        Assert.Superset(editFirst ? [("1", "3"), ("3", "2")] : new HashSet<(string?, string?)> { ("1", "2"), ("2", "3") }, phones);
        await system.SyncAsync();
        Assert.Equal("2", (await system.PatronsByGuidAsync())["p1"].Phone);

        async Task<DistrictTransaction> WriteAsync()
        {
            var edit = await DistrictTransaction.BeginAsync(system.Database, system.District.Id, CancellationToken.None);
            await EditAsync(edit, system, patron.Id, (PatronFields.Phone, "1", "3"), (PatronFields.Notes, null, "by hand"));
            return edit;
        }
    }

    /// <summary>What a librarian's edit writes, in a transaction that somebody else commits.</summary>
    private static async Task EditAsync(
        DistrictTransaction edit,
        Installation system,
        long patron,
        params (int Field, string? Old, string New)[] changes
    )
    {
        var values = new ChangeValues();
        foreach (var (field, old, value) in changes)
        {
            values.Add(field, old, value);
        }

        await ImmediateOperation.RunAsync(
            system.Database,
            edit.Connection,
            edit.Transaction,
            edit.Context,
            new Operation { DistrictId = system.District.Id, Kind = OperationKind.Edit },
            "librarian",
            [
                new Change
                {
                    Kind = ChangeKind.Edit,
                    Outcome = Outcome.Updated,
                    PatronId = patron,
                    Values = values.ToJson(),
                },
            ],
            TimeProvider.System,
            CancellationToken.None
        );
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_equal_sync_that_waits_is_shown_and_not_doubled(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        var queued = await Task.WhenAll(
            Enumerable
                .Range(0, 10)
                .Select(_ =>
                    Task.Run(() =>
                        system.Queue.EnqueueAsync(
                            system.District.Id,
                            OperationKind.FullSync,
                            IntegrationKind.ClassLink,
                            preview: false,
                            "test"
                        )
                    )
                )
        );
        Assert.Equal(1, queued.Count(q => q.IsNew));
        Assert.Single(queued.Select(q => q.Id).Distinct());
    }

    /// <summary>An edit that has written and not yet committed is not seen: that patron and roster agreed before it, is not to be noted after it.</summary>
    [Fact]
    public async Task An_edit_that_is_being_saved_while_a_sync_notes_who_agrees_is_looked_at_by_the_next_one()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Postgres, new SandboxOptions { Students = 20, Schools = 2 });
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "555-0100");
        system.Sandbox.Person("p2", "Ben", "Carver", phone: "1");
        await system.SyncAsync();
        var patron = (await system.PatronsByGuidAsync())["p1"];
        await system.Patrons.EditAsync(system.District.Id, patron.Barcode, [new("notes", "asked twice")], "librarian");
        system.Sandbox.Person("p2", "Ben", "Carver", phone: "2");

        DistrictTransaction? edit = null;
        Task? saving = null;
        var (id, _) = await system.Queue.EnqueueAsync(
            system.District.Id,
            OperationKind.FullSync,
            IntegrationKind.ClassLink,
            preview: false,
            "test"
        );
        var sync = await system.Follower.RunAsync(
            system.District.Id,
            id,
            (_, text, _, _) =>
            {
                if (text == "Writing changes" && edit is null)
                {
                    Task.Run(WriteAsync).GetAwaiter().GetResult();
                    saving = Task.Run(CommitAsync);
                }
            },
            CancellationToken.None
        );
        await saving!;
        Assert.Null(sync.Error);
        Assert.Equal("by hand", (await system.PatronsByGuidAsync())["p1"].Phone);
        Assert.Equal(1, OperationQueue.CountsOf(await system.SyncAsync()).Updated);
        Assert.Equal("555-0100", (await system.PatronsByGuidAsync())["p1"].Phone);

        async Task WriteAsync()
        {
            edit = await DistrictTransaction.BeginAsync(system.Database, system.District.Id, CancellationToken.None);
            await EditAsync(edit, system, patron.Id, (PatronFields.Phone, "555-0100", "by hand"));
        }

        // When somebody waits for what the edit holds.
        async Task CommitAsync()
        {
            await using (var context = system.Database.CreateContext())
            {
                while (
                    await context
                        .Database.SqlQuery<int>(
                            $"SELECT count(*)::int AS \"Value\" FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                        )
                        .SingleAsync() == 0
                )
                {
                    await Task.Delay(20);
                }
            }

            await edit!.CommitAsync(CancellationToken.None);
            await edit.DisposeAsync();
        }
    }
}
