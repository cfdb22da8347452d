using Microsoft.EntityFrameworkCore;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Sandbox;
using Rollcall.Sync.Undo;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>A run can be taken back: every field, GUID and link, but nothing that something later touched.</summary>
public sealed class UndoTests(PostgresCluster cluster)
{
    private static readonly FieldMap s_map = new()
    {
        Location = LocationSource.TeacherName,
        CommunityId = new IdMapping(IdSource.UserIdType, "StateID"),
    };

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Undoing_a_day_restores_every_field_guid_and_link_and_stops_the_nights(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 400, Schools = 4 });
        await system.ConfigureAsync(s => s with { Map = s_map });
        await system.SyncAsync();
        system.Sandbox.SetDay(1);
        await system.SyncAsync();
        var before = await PictureAsync(system);

        system.Sandbox.SetDay(4);
        var run = await system.SyncAsync();
        var changed = await PictureAsync(system);
        Assert.NotEqual(before, changed);

        var undo = await UndoAsync(system, run.Id);
        Assert.Equal(OperationStatus.Completed, undo.Status);
        Assert.True(OperationQueue.CountsOf(undo).AddUp, undo.Counts);
        Assert.Equal(before, await PictureAsync(system));
        Assert.Equal(OperationStatus.Undone, (await system.Queue.GetAsync(system.District.Id, run.Id)).Status);
        var settings = IntegrationService.SettingsOf(await system.Integrations.FindAsync(system.District.Id, IntegrationKind.ClassLink));
        Assert.Contains($"Operation {run.Id} was undone", settings.Daily.StoppedBecause, StringComparison.Ordinal);

        var twice = await Assert.ThrowsAsync<RollcallException>(() => UndoAsync(system, run.Id));
        Assert.Contains("undone already", twice.Message, StringComparison.Ordinal);

        // The same roster again does the same again; only barcodes of newcomers go on.
        await system.SyncAsync();
        Assert.Equal(WithoutBarcodes(changed), WithoutBarcodes(await PictureAsync(system)));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_field_that_something_later_touched_stays_and_the_log_says_so(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("p1", "Ada", "Byron", phone: "1");
        system.Sandbox.Person("p2", "Ben", "Carver", phone: "1");
        await system.SyncAsync();
        system.Sandbox.Person("p1", "Adah", "Byron", phone: "2");
        system.Sandbox.Person("p2", "Benny", "Carver", phone: "2");
        system.Sandbox.Person("p3", "Cleo", "Dunn", phone: "2");
        system.Sandbox.Person("p4", "Dora", "Ely", phone: "2");
        var run = await system.SyncAsync();
        var patrons = await system.PatronsByGuidAsync();
        await system.Patrons.EditAsync(system.District.Id, patrons["p1"].Barcode, [new("phone", "by hand")], "librarian");
        await system.Patrons.EditAsync(system.District.Id, patrons["p3"].Barcode, [new("notes", "likes horses")], "librarian");

        var undo = await UndoAsync(system, run.Id);
        Assert.Equal(OperationStatus.CompletedWithWarnings, undo.Status);
        var after = await system.PatronsByGuidAsync();
        Assert.Equal(("Ada", "by hand"), (after["p1"].FirstName, after["p1"].Phone));
        Assert.Equal(("Ben", "1"), (after["p2"].FirstName, after["p2"].Phone));
        Assert.Equal("Cleo", after["p3"].FirstName);
        Assert.DoesNotContain("p4", after.Keys);
        var log = await system.LogAsync(undo.Id);
        Assert.Contains(
            log,
            r => r.Guid == "p1" && r.Warning!.Contains("Phone Number stays (changed since by operation", StringComparison.Ordinal)
        );
        Assert.Contains(log, r => r.Guid == "p3" && r.Reason!.Contains("The patron stays: changed since", StringComparison.Ordinal));
        Assert.Contains(log, r => r.Guid == "p4" && r.Outcome == "removed" && r.Name == "Ely, Dora");
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task One_patron_goes_back_alone_and_the_run_can_follow(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        system.Sandbox.Person("p1", "Ada", "Byron");
        system.Sandbox.Person("p2", "Ben", "Carver");
        await system.SyncAsync();
        system.Sandbox.Person("p1", "Adah", "Byron");
        system.Sandbox.Person("p2", "Benny", "Carver");
        var run = await system.SyncAsync();
        var barcode = (await system.PatronsByGuidAsync())["p1"].Barcode;

        await UndoAsync(system, run.Id, barcode);
        var after = await system.PatronsByGuidAsync();
        Assert.Equal(("Ada", "Benny"), (after["p1"].FirstName, after["p2"].FirstName));
        Assert.NotEqual(OperationStatus.Undone, (await system.Queue.GetAsync(system.District.Id, run.Id)).Status);
        await system.Patrons.EditAsync(system.District.Id, barcode, [new("firstName", "Augusta")], "librarian");

        var whole = await UndoAsync(system, run.Id);
        Assert.Equal(OperationStatus.Completed, whole.Status);
        after = await system.PatronsByGuidAsync();
        Assert.Equal(("Augusta", "Ben"), (after["p1"].FirstName, after["p2"].FirstName));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Swapped_barcodes_swap_back(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        await system.ConfigureAsync(s => s with { Map = new FieldMap { Barcode = new IdMapping(IdSource.UserIdType, "Card") } });
        system.Sandbox.Person("p1", "Ada", "Byron", barcode: "CARD1");
        system.Sandbox.Person("p2", "Ben", "Carver", barcode: "CARD2");
        system.Sandbox.Person("p3", "Cleo", "Dunn", barcode: "CARD3");
        await system.SyncAsync();
        system.Sandbox.Person("p1", "Ada", "Byron", barcode: "CARD2");
        system.Sandbox.Person("p2", "Ben", "Carver", barcode: "CARD3");
        system.Sandbox.Person("p3", "Cleo", "Dunn", barcode: "CARD1");
        var run = await system.SyncAsync();
        var swapped = await system.PatronsByGuidAsync();
        Assert.Equal(("CARD2", "CARD3", "CARD1"), (swapped["p1"].Barcode, swapped["p2"].Barcode, swapped["p3"].Barcode));

        var undo = await UndoAsync(system, run.Id);
        Assert.Equal(OperationStatus.Completed, undo.Status);
        var back = await system.PatronsByGuidAsync();
        Assert.Equal(("CARD1", "CARD2", "CARD3"), (back["p1"].Barcode, back["p2"].Barcode, back["p3"].Barcode));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task A_hold_that_waits_is_dropped_with_the_run_and_an_import_goes_back_like_a_sync(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db, new SandboxOptions { Students = 300, Schools = 2 });
        var import = await system.ImportAsync("barcode,lastName,firstName,site\nA1001,Byron,Ada,S1\nA1002,Carver,Ben,S1\n");
        await UndoAsync(system, import.Id);
        Assert.Empty(await system.AllPatronsAsync());

        await system.SyncAsync();
        var before = await PictureAsync(system);
        system.Sandbox.Overrides.RemoveShare(system.Sandbox.District.Schools.First().SourcedId, 0.3);
        system.Sandbox.Overrides.Change(
            "users",
            system
                .Sandbox.District.People.Last(p => p.Group == SandboxRoleGroup.Student && p.Presence == SandboxPresence.Present)
                .SourcedId,
            u => u["givenName"] = "Renamed"
        );
        var held = await system.SyncAsync();
        Assert.Equal(OperationStatus.NeedsApproval, held.Status);
        var undo = await UndoAsync(system, held.Id);
        Assert.Null(undo.Error);
        Assert.Equal(before, await PictureAsync(system));
        await Assert.ThrowsAsync<RollcallException>(() => system.ApproveAsync(held.Id));

        // Nobody is said to be held any more: the totals are those of what had been written.
        var undone = await system.Queue.GetAsync(system.District.Id, held.Id);
        var counts = OperationQueue.CountsOf(undone);
        Assert.Equal((OperationStatus.Undone, 0), (undone.Status, counts.Held));
        Assert.True(counts.AddUp, undone.Counts);
        var written = (await system.LogAsync(held.Id)).Where(r => r is { NotWritten: false, Held: false }).ToList();
        Assert.Equal(
            (written.Count(r => r.Outcome == "updated"), written.Count(r => r.Outcome is "transferred" or "absent")),
            ((int)counts.Updated, (int)counts.Transferred)
        );
    }

    [Fact]
    public async Task What_cannot_be_undone_is_refused_in_words()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite);
        var preview = await system.SyncAsync(preview: true);
        await RefusedAsync(preview.Id, "has written nothing");
        await RefusedAsync(4711, "There is no operation 4711");
        var run = await system.SyncAsync();
        var undo = await UndoAsync(system, run.Id);
        await RefusedAsync(undo.Id, "is itself an undo");
        var service = system.Get<UndoService>();
        await Assert.ThrowsAsync<RollcallException>(() => service.EnqueueAsync(system.District.Id, run.Id, "NOBODY", "test"));

        async Task RefusedAsync(long id, string words)
        {
            var refused = await Assert.ThrowsAsync<RollcallException>(() => UndoAsync(system, id));
            Assert.Contains(words, refused.Message, StringComparison.Ordinal);
        }
    }

    internal static async Task<Operation> UndoAsync(Installation system, long id, string? barcode = null)
    {
        var undo = await system.Get<UndoService>().EnqueueAsync(system.District.Id, id, barcode, "test");
        var ended = await system.Follower.RunAsync(system.District.Id, undo, null, CancellationToken.None);
        Assert.Null(ended.Error);
        return ended;
    }

    /// <summary>Every field and every link, hashes and stamps aside.</summary>
    internal static async Task<SortedDictionary<string, string>> PictureAsync(Installation system)
    {
        await using var context = system.Database.CreateContext();
        var links = await context.PatronLinks.AsNoTracking().ToDictionaryAsync(l => l.PatronId);
        var picture = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var patron in await system.AllPatronsAsync())
        {
            var fields = PatronFields.All.Select(f => $"{f.Name}={f.Get(patron)}").ToList();
            if (links.TryGetValue(patron.Id, out var l))
            {
                fields.Add(
                    $"link={l.Aliases}|{l.RoleGroup}|{l.Username}|{l.Guardians}|{l.HomeroomClass}|{l.LoginDisabled}|{l.Absent}|{l.StatusBefore}|{l.LeftSchools}"
                );
            }

            picture.Add(patron.Guid ?? patron.Barcode, string.Join('\n', fields));
        }

        return picture;
    }

    private static Dictionary<string, string> WithoutBarcodes(SortedDictionary<string, string> picture) =>
        picture.ToDictionary(p => p.Key, p => p.Value[p.Value.IndexOf('\n', StringComparison.Ordinal)..], StringComparer.Ordinal);
}
