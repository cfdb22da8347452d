using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Tests.Infrastructure;

namespace Rollcall.Tests.Sync;

/// <summary>Feeds that shrink: what is usual is written, what looks like an accident waits, what is no roster fails. Either way the patrons
/// of others are untouched.</summary>
public sealed class ShrinkTests(PostgresCluster cluster)
{
    private const int Students = 120;
    private const int Teachers = 4;

    [Theory]
    [InlineData(0, 0, false, false)]
    [InlineData(1, 0, false, false)]
    [InlineData(9, 0, false, false)]
    [InlineData(10, 0, false, false)]
    [InlineData(12, 0, false, false)]
    [InlineData(13, 0, true, false)]
    [InlineData(60, 0, true, false)]
    [InlineData(120, 0, true, false)]
    [InlineData(0, 2, false, false)]
    [InlineData(0, 3, false, false)]
    [InlineData(0, 4, false, true)]
    [InlineData(12, 4, false, true)]
    [InlineData(13, 4, true, true)]
    public async Task Leavers_of_a_school_and_role_are_held_only_beyond_the_threshold(
        int students,
        int teachers,
        bool studentsHeld,
        bool teachersHeld
    )
    {
        foreach (var deleted in (bool[])[false, true])
        {
            // Either way of leaving meets either database, at one count or the other.
            await using var system = await StartAsync(
                students == 13 || (students + teachers) % 2 == (deleted ? 1 : 0) ? Db.Postgres : Db.Sqlite
            );
            var before = (await system.PatronsByGuidAsync()).ToDictionary(p => p.Key, p => p.Value.Version);
            Go(system, "s1-", students, "student", deleted);
            Go(system, "t1-", teachers, "teacher", deleted);
            var operation = await system.SyncAsync();
            Assert.Null(operation.Error);
            var counts = OperationQueue.CountsOf(operation);
            Assert.True(counts.AddUp, operation.Counts);
            Assert.Equal((studentsHeld ? students : 0) + (teachersHeld ? teachers : 0), counts.Held);
            Assert.Equal(deleted ? 0 : students + teachers, counts.Absent);
            Assert.Equal(counts.Held > 0, operation.Status == OperationStatus.NeedsApproval);

            var after = await system.PatronsByGuidAsync();
            Assert.Equal(before.Count, after.Count);
            foreach (var (guid, patron) in after)
            {
                var number = int.Parse(guid[3..], System.Globalization.CultureInfo.InvariantCulture);
                var goes =
                    (guid.StartsWith("s1-", StringComparison.Ordinal) && number < students && !studentsHeld)
                    || (guid.StartsWith("t1-", StringComparison.Ordinal) && number < teachers && !teachersHeld);
                Assert.Equal(goes ? PatronStatus.Transferred : PatronStatus.Active, patron.Status);
                Assert.Equal(goes, patron.Version != before[guid]);
            }
        }
    }

    /// <summary>Every site and role is measured by itself, on those who had not left before; two are no group that vanishes.</summary>
    [Theory]
    [InlineData(Db.Sqlite, false)]
    [InlineData(Db.Postgres, false)]
    [InlineData(Db.Postgres, true)]
    public async Task Each_site_and_role_is_measured_by_itself_on_those_who_are_left(Db db, bool deleted)
    {
        await using var system = await StartAsync(db);
        foreach (var (prefix, count) in ((string, int)[])[("a1-", 3), ("a2-", 2)])
        {
            for (var i = 0; i < count; i++)
            {
                Put(system, prefix, i, "administrator", "active");
            }
        }

        Assert.Equal(5, OperationQueue.CountsOf(await system.SyncAsync()).Created);
        Go(system, "s1-", 13, "student", deleted);
        Go(system, "s2-", 12, "student", deleted);
        Go(system, "a1-", 3, "administrator", deleted);
        Go(system, "a2-", 2, "administrator", deleted);
        var operation = await system.SyncAsync();
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((OperationStatus.NeedsApproval, 16), (operation.Status, counts.Held));
        Assert.Equal(
            ["a2-:2", "s2-:12"],
            (await system.PatronsByGuidAsync())
                .Where(p => p.Value.Status == PatronStatus.Transferred)
                .CountBy(p => p.Key[..3])
                .Select(g => $"{g.Key}:{g.Value}")
                .Order(StringComparer.Ordinal)
        );

        // Of the 108 who are left 10 are usual, and one more is not.
        await system.Queue.DiscardAsync(system.District.Id, operation.Id, "test");
        for (var i = 0; i < 13; i++)
        {
            Put(system, "s1-", i, "student", "active");
            Put(system, "a1-", i % 3, "administrator", "active");
        }

        Go(system, "s2-", 22, "student", deleted);
        counts = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((0, 10), (counts.Held, counts.Transferred));
        for (var i = 12; i < 22; i++)
        {
            Put(system, "s2-", i, "student", "active");
        }

        Assert.Equal(10, OperationQueue.CountsOf(await system.SyncAsync()).Reactivated);
        Go(system, "s2-", 23, "student", deleted);
        operation = await system.SyncAsync();
        Assert.Equal((OperationStatus.NeedsApproval, 11), (operation.Status, OperationQueue.CountsOf(operation).Held));
    }

    /// <summary>Somebody whom no sync transfers stays, and hides not that all others go.</summary>
    [Theory]
    [InlineData(Db.Sqlite, "group", "Librarian")]
    [InlineData(Db.Postgres, "doNotTransfer", "true")]
    [InlineData(Db.Sqlite, "keptFields", "status")]
    [InlineData(Db.Postgres, "keptFields", "status")]
    [InlineData(Db.Sqlite, "status", "Inactive")]
    public async Task All_who_could_go_are_held_beside_one_who_could_not(Db db, string field, string value)
    {
        await using var system = await StartAsync(db);
        var patrons = await system.PatronsByGuidAsync();
        await system.Patrons.EditAsync(system.District.Id, patrons["t1-3"].Barcode, [new(field, value)], "test");
        Go(system, "t1-", 2, "teacher", deleted: false);
        var two = await system.SyncAsync();
        Assert.Equal((0, 2), (OperationQueue.CountsOf(two).Held, OperationQueue.CountsOf(two).Absent));
        for (var i = 0; i < 2; i++)
        {
            Put(system, "t1-", i, "teacher", "active");
        }

        Assert.Equal(2, OperationQueue.CountsOf(await system.SyncAsync()).Reactivated);
        Go(system, "t1-", 4, "teacher", deleted: false);
        var all = await system.SyncAsync();
        Assert.Equal((OperationStatus.NeedsApproval, 3), (all.Status, OperationQueue.CountsOf(all).Held));
    }

    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task An_empty_list_of_people_or_schools_fails_and_touches_nobody(Db db)
    {
        await using var system = await StartAsync(db);
        var before = (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version);
        foreach (var fault in (string[])["empty-users", "empty-orgs"])
        {
            system.Sandbox.Faults.Set(fault);
            var operation = await system.SyncAsync();
            Assert.Equal(OperationStatus.Failed, operation.Status);
            Assert.NotNull(operation.Error);
            Assert.Equal(before, (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version));
        }

        // A matched school that is gone stops the sync too: its people would all look absent.
        system.Sandbox.Faults.Set("");
        system.Sandbox.Overrides.Remove("orgs", system.Sandbox.District.Schools.First().SourcedId);
        var gone = await system.SyncAsync();
        Assert.Contains("no longer in the roster", gone.Error, StringComparison.Ordinal);
        Assert.Equal(before, (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version));
    }

    /// <summary>All ids are given anew: half of that takes people off, the other half adds them once more. Neither is done without a word.</summary>
    [Theory]
    [InlineData(Db.Sqlite, 30, 30, false)]
    [InlineData(Db.Postgres, 30, 30, false)]
    [InlineData(Db.Sqlite, 30, 30, true)]
    [InlineData(Db.Sqlite, 3, 3, false)]
    [InlineData(Db.Postgres, 10, 120, false)]
    [InlineData(Db.Sqlite, 9, 120, false)]
    public async Task Who_goes_and_comes_under_another_id_does_neither_without_a_word(Db db, int count, int of, bool deleted)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        void There(string prefix, int i, string status = "active", bool mail = false) =>
            system.Sandbox.Person($"{prefix}{i}", $"First{i}", $"Last{i}", status: status, email: mail ? $"m{i}@x.org" : null);
        for (var i = 0; i < of; i++)
        {
            There("a", i);
        }

        await system.SyncAsync();
        var before = (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version);
        for (var i = 0; i < count; i++)
        {
            if (deleted)
            {
                There("a", i, "tobedeleted");
            }
            else
            {
                system.Sandbox.Overrides.Remove("users", $"a{i}");
            }

            There("b", i);
        }

        var operation = await system.SyncAsync();
        var counts = OperationQueue.CountsOf(operation);
        Assert.True(counts.AddUp, operation.Counts);
        if (count == 9)
        {
            // So few of so many are usual.
            Assert.Equal((0, 9, 9), (counts.Held, counts.Created, counts.Transferred));
            return;
        }

        Assert.Equal((OperationStatus.NeedsApproval, 2 * count), (operation.Status, counts.Held));
        Assert.Equal(before, (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version));
        var words = OperationQueue.WarningsOf(operation).Select(w => w.Message).ToList();
        Assert.Contains(
            words,
            w =>
                w.StartsWith($"{count} new students at", StringComparison.Ordinal)
                && w.Contains(
                    "have the name of somebody who is missing from the roster: the ids may have been given anew",
                    StringComparison.Ordinal
                )
        );
        Assert.All(
            (await system.LogAsync(operation.Id)).Where(r => r.Guid!.StartsWith('b')),
            r => Assert.Contains("perhaps the id was given anew", r.Reason, StringComparison.Ordinal)
        );

        // With their addresses they are who they were, and nobody has to be asked.
        await system.Queue.DiscardAsync(system.District.Id, operation.Id, "test");
        for (var i = 0; i < count; i++)
        {
            There("b", i, mail: true);
            var old = (await system.PatronsByGuidAsync())[$"a{i}"];
            await system.Patrons.EditAsync(system.District.Id, old.Barcode, [new("email", $"m{i}@x.org")], "test");
        }

        operation = await system.SyncAsync();
        counts = OperationQueue.CountsOf(operation);
        Assert.Equal((0, 0, 0, 0, count), (counts.Held, counts.Created, counts.Transferred, counts.Review, counts.LinkedEmail));
        var after = await system.PatronsByGuidAsync();
        Assert.Equal(of, after.Count);
        Assert.All(Enumerable.Range(0, count), i => Assert.Equal(PatronStatus.Active, after[$"b{i}"].Status));
    }

    private static void Go(Installation system, string prefix, int count, string role, bool deleted)
    {
        for (var i = 0; i < count; i++)
        {
            if (deleted)
            {
                Put(system, prefix, i, role, "tobedeleted");
            }
            else
            {
                system.Sandbox.Overrides.Remove("users", $"{prefix}{i}");
            }
        }
    }

    private static void Put(Installation system, string prefix, int i, string role, string status) =>
        system.Sandbox.Person(
            $"{prefix}{i}",
            $"First{i}",
            $"Last{prefix}{i}",
            role: role,
            status: status,
            orgs: [system.Sandbox.District.Schools.ElementAt(prefix[1] - '1').SourcedId]
        );

    private async Task<Installation> StartAsync(Db db)
    {
        var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        foreach (
            var (prefix, count, role) in ((string, int, string)[])
                [("s1-", Students, "student"), ("s2-", Students, "student"), ("t1-", Teachers, "teacher")]
        )
        {
            for (var i = 0; i < count; i++)
            {
                Put(system, prefix, i, role, "active");
            }
        }

        var first = OperationQueue.CountsOf(await system.SyncAsync());
        Assert.Equal((2 * Students) + Teachers, first.Created);
        return system;
    }

    /// <summary>Those are all of a group whom this roster could transfer: staff too where a row says that they are gone, and nobody who has been
    /// absent before.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task All_are_counted_by_what_the_roster_could_do_to_them(Db db)
    {
        await using var system = await StartAsync(db);
        Put(system, "t1-", 4, "teacher", "active");
        await system.SyncAsync();
        var patrons = await system.PatronsByGuidAsync();
        for (var i = 0; i < 3; i++)
        {
            await system.Patrons.EditAsync(system.District.Id, patrons[$"t1-{i}"].Barcode, [new("group", "Librarian")], "test");
        }

        // Three of five, though the other two alone have no staff rights.
        Go(system, "t1-", 3, "teacher", deleted: true);
        var three = await system.SyncAsync();
        Assert.Equal((0, 3), (OperationQueue.CountsOf(three).Held, OperationQueue.CountsOf(three).Transferred));

        // Somebody who left before, and whose status a librarian set back, can not leave again: three are all.
        for (var i = 0; i < 4; i++)
        {
            Put(system, "t1-", i, "teacher", "active");
            await system.Patrons.EditAsync(system.District.Id, patrons[$"t1-{i}"].Barcode, [new("group", "Patron")], "test");
        }

        system.Sandbox.Overrides.Remove("users", "t1-4");
        Assert.Equal(1, OperationQueue.CountsOf(await system.SyncAsync()).Absent);
        system.Sandbox.Overrides.Remove("users", "t1-3");
        Assert.Equal(1, OperationQueue.CountsOf(await system.SyncAsync()).Absent);
        await system.Patrons.EditAsync(system.District.Id, patrons["t1-4"].Barcode, [new("status", "Active")], "test");
        Go(system, "t1-", 3, "teacher", deleted: false);
        var all = await system.SyncAsync();
        Assert.Equal((OperationStatus.NeedsApproval, 3), (all.Status, OperationQueue.CountsOf(all).Held));
    }
}
