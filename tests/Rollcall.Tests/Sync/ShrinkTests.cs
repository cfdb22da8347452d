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
        foreach (var db in Enum.GetValues<Db>())
        {
            // Either way of leaving meets either database, at one count or the other; the first count that is too many meets both.
            var other = (students + teachers) % 2 == (deleted ? 1 : 0) ? Db.Postgres : Db.Sqlite;
            if (students != 13 && db != other)
            {
                continue;
            }

            await using var system = await StartAsync(db);
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

    /// <summary>A sync of changes sees those alone who are deleted, and measures them against all the same.</summary>
    [Theory]
    [InlineData(Db.Sqlite, 12, 0, false, false)]
    [InlineData(Db.Postgres, 12, 0, false, false)]
    [InlineData(Db.Sqlite, 13, 0, true, false)]
    [InlineData(Db.Postgres, 13, 0, true, false)]
    [InlineData(Db.Sqlite, 120, 0, true, false)]
    [InlineData(Db.Postgres, 120, 0, true, false)]
    [InlineData(Db.Sqlite, 0, 3, false, false)]
    [InlineData(Db.Postgres, 0, 3, false, false)]
    [InlineData(Db.Sqlite, 0, 4, false, true)]
    [InlineData(Db.Postgres, 0, 4, false, true)]
    public async Task A_changes_sync_holds_leavers_beyond_the_threshold_too(
        Db db,
        int students,
        int teachers,
        bool studentsHeld,
        bool teachersHeld
    )
    {
        await using var system = await StartAsync(db);
        var before = (await system.PatronsByGuidAsync()).ToDictionary(p => p.Key, p => p.Value.Version);
        Go(system, "s1-", students, "student", deleted: true, Later);
        Go(system, "t1-", teachers, "teacher", deleted: true, Later);
        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
        var counts = OperationQueue.CountsOf(operation);
        Assert.True(counts.AddUp, operation.Counts);
        var held = (studentsHeld ? students : 0) + (teachersHeld ? teachers : 0);
        Assert.Equal((held, students + teachers), (counts.Held, counts.Transferred));
        Assert.Equal(held > 0, operation.Status == OperationStatus.NeedsApproval);
        var after = await system.PatronsByGuidAsync();
        Assert.Equal(students + teachers - held, after.Values.Count(p => p.Status == PatronStatus.Transferred));
        Assert.Equal(students + teachers - held, after.Count(p => p.Value.Version != before[p.Key]));
    }

    /// <summary>Ten of a hundred are usual, and one more is not.</summary>
    [Theory]
    [InlineData(Db.Sqlite, 10, 0)]
    [InlineData(Db.Postgres, 10, 0)]
    [InlineData(Db.Sqlite, 11, 11)]
    [InlineData(Db.Postgres, 11, 11)]
    public async Task Eleven_of_a_hundred_wait_and_ten_do_not(Db db, int leavers, int held)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        for (var i = 0; i < 100; i++)
        {
            Put(system, "s1-", i, "student", "active");
        }

        await system.SyncAsync();
        Go(system, "s1-", leavers, "student", deleted: false);
        Assert.Equal(held, OperationQueue.CountsOf(await system.SyncAsync()).Held);
        Assert.Equal(leavers - held, (await system.AllPatronsAsync()).Count(p => p.Status == PatronStatus.Transferred));
    }

    /// <summary>Every site and role is measured by itself, on those who had not left before; two are no group that vanishes.</summary>
    [Theory]
    [InlineData(Db.Sqlite, false)]
    [InlineData(Db.Postgres, false)]
    [InlineData(Db.Postgres, true)]
    public async Task Each_site_and_role_is_measured_by_itself_on_those_who_are_left(Db db, bool deleted)
    {
        await using var system = await StartAsync(db);
        foreach (var (prefix, count) in ((string, int)[])[("a1-", 3), ("a2-", 2), ("a3-", 1)])
        {
            for (var i = 0; i < count; i++)
            {
                Put(system, prefix, i, "administrator", "active");
            }
        }

        Assert.Equal(6, OperationQueue.CountsOf(await system.SyncAsync()).Created);
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

    /// <summary>Two at each school pass every threshold; that a district has none of them any more is an accident all the same.</summary>
    [Theory]
    [InlineData(Db.Sqlite, 2, false, 4)]
    [InlineData(Db.Postgres, 2, false, 4)]
    [InlineData(Db.Postgres, 2, true, 4)]
    [InlineData(Db.Sqlite, 1, false, 0)]
    [InlineData(Db.Postgres, 1, false, 0)]
    public async Task A_role_of_whom_the_whole_roster_has_nobody_waits_at_every_school(Db db, int each, bool deleted, int held)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        for (var i = 0; i < 20; i++)
        {
            Put(system, "s1-", i, "student", "active");
        }

        foreach (var prefix in (string[])["a1-", "a2-"])
        {
            for (var i = 0; i < each; i++)
            {
                Put(system, prefix, i, "administrator", "active");
            }
        }

        await system.SyncAsync();
        Go(system, "a1-", each, "administrator", deleted);
        Go(system, "a2-", each, "administrator", deleted);
        Go(system, "s1-", 2, "student", deleted);
        var operation = await system.SyncAsync();
        Assert.Null(operation.Error);
        Assert.Equal(held, OperationQueue.CountsOf(operation).Held);
        Assert.Equal((2 * each) + 2 - held, (await system.AllPatronsAsync()).Count(p => p.Status == PatronStatus.Transferred));
        var told = OperationQueue.WarningsOf(operation).Where(w => w.Code == WarningGroup.Held).ToList();
        Assert.Equal(held / 2, told.Count);
        Assert.All(told, w => Assert.Contains("the roster has nobody of their kind", w.Message, StringComparison.Ordinal));
        Assert.All(told, w => Assert.Contains("untick them under Syncing", w.Hint, StringComparison.Ordinal));
        if (held > 0)
        {
            Assert.Null((await system.ApproveAsync(operation.Id)).Error);
            Assert.Equal(6, (await system.AllPatronsAsync()).Count(p => p.Status == PatronStatus.Transferred));
        }
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

    /// <summary>A sync of changes sees half of it: that who comes is nobody new it cannot tell, and waits all the same.</summary>
    [Theory]
    [InlineData(Db.Sqlite, 30, 30)]
    [InlineData(Db.Postgres, 30, 30)]
    [InlineData(Db.Sqlite, 3, 3)]
    [InlineData(Db.Postgres, 10, 80)]
    [InlineData(Db.Sqlite, 9, 80)]
    public async Task Who_comes_under_another_id_waits_where_a_changes_sync_sees_it_first(Db db, int count, int of)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        for (var i = 0; i < of; i++)
        {
            system.Sandbox.Person($"a{i}", $"First{i}", $"Last{i}");
        }

        await system.SyncAsync();
        var before = (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version);
        for (var i = 0; i < count; i++)
        {
            system.Sandbox.Overrides.Remove("users", $"a{i}");
            system.Sandbox.Person($"b{i}", $"First{i}", $"Last{i}", modified: Later);
        }

        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
        var counts = OperationQueue.CountsOf(operation);
        Assert.True(counts.AddUp, operation.Counts);
        Assert.All(
            await system.LogAsync(operation.Id),
            r => Assert.Contains("is linked under another id: perhaps the id was given anew", r.Reason, StringComparison.Ordinal)
        );
        if (count == 9)
        {
            Assert.Equal((0, 9), (counts.Held, counts.Created));
            return;
        }

        Assert.Equal((OperationStatus.NeedsApproval, count), (operation.Status, counts.Held));
        Assert.Equal(before, (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version));
        Assert.Contains(
            OperationQueue.WarningsOf(operation),
            w => w.Message.Contains("have the name of somebody who is linked under another id", StringComparison.Ordinal)
        );

        // The next one that reads everything holds both halves.
        operation = await system.SyncAsync();
        Assert.Equal((OperationStatus.NeedsApproval, 2 * count), (operation.Status, OperationQueue.CountsOf(operation).Held));
        Assert.Equal(before, (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version));
    }

    /// <summary>Of a pull in which one row has no id nobody is absent; that does not make others of those who come under another id.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Who_comes_under_another_id_waits_where_the_pull_cannot_tell_who_is_gone(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        for (var i = 0; i < 3; i++)
        {
            // One of them, who come first, is the row without an id.
            system.Sandbox.Person($"0{i}", $"Stays{i}", $"Here{i}");
        }

        for (var i = 0; i < 30; i++)
        {
            system.Sandbox.Person($"a{i}", $"First{i}", $"Last{i}");
        }

        await system.SyncAsync();
        var before = (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version);
        for (var i = 0; i < 30; i++)
        {
            system.Sandbox.Overrides.Remove("users", $"a{i}");
            system.Sandbox.Person($"b{i}", $"First{i}", $"Last{i}");
        }

        system.Sandbox.Faults.Set("no-sourcedid:users");
        for (var night = 0; night < 2; night++)
        {
            var operation = await system.SyncAsync();
            var counts = OperationQueue.CountsOf(operation);
            Assert.Equal((OperationStatus.NeedsApproval, 30, 30, 0), (operation.Status, counts.Held, counts.Created, counts.Absent));
            Assert.Equal(before, (await system.AllPatronsAsync()).ToDictionary(p => p.Id, p => p.Version));
        }
    }

    /// <summary>Who is Inactive stays so when the roster lacks them, and is somebody all the same when they come under another id.</summary>
    [Theory]
    [InlineData(Db.Sqlite)]
    [InlineData(Db.Postgres)]
    public async Task Who_comes_under_another_id_waits_though_the_patron_is_inactive(Db db)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        for (var i = 0; i < 30; i++)
        {
            system.Sandbox.Person($"a{i}", $"First{i}", $"Last{i}");
        }

        await system.SyncAsync();
        var patrons = await system.PatronsByGuidAsync();
        for (var i = 0; i < 30; i++)
        {
            if (i < 2)
            {
                await system.Patrons.EditAsync(system.District.Id, patrons[$"a{i}"].Barcode, [new("status", "Inactive")], "test");
            }

            system.Sandbox.Overrides.Remove("users", $"a{i}");
            system.Sandbox.Person($"b{i}", $"First{i}", $"Last{i}");
        }

        for (var night = 0; night < 3; night++)
        {
            var operation = await system.SyncAsync();
            Assert.Equal((OperationStatus.NeedsApproval, 58), (operation.Status, OperationQueue.CountsOf(operation).Held));
            Assert.Equal(patrons.Keys.Order(), (await system.PatronsByGuidAsync()).Keys.Order());
        }
    }

    /// <summary>The leavers were believed one night, and come back under other ids the next: as many as would be too many wait, one is new, and the
    /// log says what is to be thought of.</summary>
    [Theory]
    [InlineData(Db.Sqlite, 30, 40, false)]
    [InlineData(Db.Postgres, 30, 40, true)]
    [InlineData(Db.Sqlite, 4, 0, false)]
    [InlineData(Db.Postgres, 1, 40, false)]
    [InlineData(Db.Sqlite, 1, 40, true)]
    public async Task Who_left_before_and_comes_under_another_id_is_counted_too(Db db, int count, int stay, bool changes)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        for (var i = 0; i < count; i++)
        {
            system.Sandbox.Person($"a{i}", $"First{i}", $"Last{i}");
        }

        for (var i = 0; i <= stay; i++)
        {
            // Somebody is always there.
            system.Sandbox.Person($"x{i}", $"Stays{i}", $"Here{i}", role: i == 0 ? "teacher" : "student");
        }

        await system.SyncAsync();
        for (var i = 0; i < count; i++)
        {
            system.Sandbox.Overrides.Remove("users", $"a{i}");
        }

        var left = await system.SyncAsync();
        if (left.Status == OperationStatus.NeedsApproval)
        {
            await system.ApproveAsync(left.Id);
            await system.SyncAsync();
        }

        Assert.Equal(count, (await system.AllPatronsAsync()).Count(p => p.Status == PatronStatus.Transferred));
        for (var i = 0; i < count; i++)
        {
            system.Sandbox.Person($"b{i}", $"First{i}", $"Last{i}", modified: Later);
        }

        var operation = await system.SyncAsync(kind: changes ? OperationKind.ChangesSync : OperationKind.FullSync);
        Assert.Equal((changes ? OperationKind.ChangesSync : OperationKind.FullSync, null), (operation.Kind, operation.Error));
        Assert.Equal(
            (count == 1 ? 0 : count, count),
            (OperationQueue.CountsOf(operation).Held, OperationQueue.CountsOf(operation).Created)
        );
        Assert.Equal((2 * count) + stay + 1 - (count == 1 ? 0 : count), (await system.AllPatronsAsync()).Count);
        Assert.All(
            (await system.LogAsync(operation.Id)).Where(r => r.Guid!.StartsWith('b')),
            r => Assert.Equal("Somebody of the same name has left: perhaps they are back under another id", r.Reason)
        );
    }

    /// <summary>Among the new of a large school some have the name of somebody who left it, or who is there: chance makes them, and nobody waits for it.
    /// Known birthdates that differ say so of each.</summary>
    [Theory]
    [InlineData(Db.Sqlite, false, null, null, 0)]
    [InlineData(Db.Postgres, false, "2010-01-02", "2014-07-08", 0)]
    [InlineData(Db.Sqlite, false, "2010-01-02", "2010-01-02", 12)]
    [InlineData(Db.Sqlite, true, null, null, 0)]
    [InlineData(Db.Postgres, true, "2010-01-02", "2014-07-08", 0)]
    [InlineData(Db.Postgres, true, "2010-01-02", "2010-01-02", 12)]
    public async Task A_dozen_namesakes_among_many_are_a_chance(Db db, bool changes, string? born, string? bornAnew, int held)
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        for (var i = 0; i < 200; i++)
        {
            system.Sandbox.Person($"x{i}", $"First{i}", $"Last{i}");
            system.Sandbox.Born($"x{i}", born);
        }

        await system.SyncAsync();
        for (var i = 0; i < 12 && !changes; i++)
        {
            system.Sandbox.Overrides.Remove("users", $"x{i}");
        }

        if (!changes)
        {
            Assert.Equal(12, OperationQueue.CountsOf(await system.SyncAsync()).Transferred);
        }

        for (var i = 0; i < 40; i++)
        {
            var isNamesake = i < 12;
            system.Sandbox.Person($"b{i}", $"{(isNamesake ? "First" : "New")}{i}", $"{(isNamesake ? "Last" : "Come")}{i}", modified: Later);
            system.Sandbox.Born($"b{i}", bornAnew);
        }

        var operation = await system.SyncAsync(kind: changes ? OperationKind.ChangesSync : OperationKind.FullSync);
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((held, 40), (counts.Held, counts.Created));
        Assert.Equal(240 - held, (await system.AllPatronsAsync()).Count);
        Assert.Equal(
            born is null || born == bornAnew ? 12 : 0,
            (await system.LogAsync(operation.Id)).Count(r => r.Reason?.Contains("the same name", StringComparison.Ordinal) == true)
        );
    }

    /// <summary>Patrons of one school who are not linked, and their namesakes who come, keep no leaver of another school waiting for whom one of the new
    /// could be taken.</summary>
    [Fact]
    public async Task One_namesake_at_another_school_holds_no_leavers_there()
    {
        await using var system = await Installation.StartAsync(cluster, Db.Sqlite);
        system.Sandbox.OnlyMine();
        string School(int number) => system.Sandbox.District.Schools.ElementAt(number - 1).SourcedId;
        for (var i = 0; i < 60; i++)
        {
            system.Sandbox.Person($"x{i}", $"First{i}", $"Last{i}", orgs: [School(2)]);
        }

        system.Sandbox.Person("y", "Some", "Body", orgs: [School(1)]);
        await system.SyncAsync();
        await system.ImportAsync(
            "barcode,lastName,firstName,site\n" + string.Concat(Enumerable.Range(0, 12).Select(i => $"OLD{i},Unlinked{i},Kid{i},S1\n"))
        );
        for (var i = 0; i < 4; i++)
        {
            system.Sandbox.Overrides.Remove("users", $"x{i}");
        }

        for (var i = 0; i < 12; i++)
        {
            system.Sandbox.Person($"n{i}", $"Kid{i}", $"Unlinked{i}", orgs: [School(1)], modified: Later);
        }

        system.Sandbox.Person("m", "First0", "Last0", orgs: [School(1)], modified: Later);
        var operation = await system.SyncAsync();
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((13, 4), (counts.Held, counts.Transferred));
        Assert.Equal(4, (await system.AllPatronsAsync()).Count(p => p.Status == PatronStatus.Transferred));
    }

    /// <summary>Whoever moves up a school and comes there under another id is one and the same, unless the birthdates say otherwise. Both halves wait,
    /// though the leavers alone would be usual.</summary>
    [Theory]
    [InlineData(Db.Sqlite, null, null, false, true)]
    [InlineData(Db.Postgres, "2015-03-02", "2015-03-02", false, true)]
    [InlineData(Db.Sqlite, "2015-03-02", "2014-07-08", false, false)]
    [InlineData(Db.Postgres, null, "2014-07-08", false, true)]
    [InlineData(Db.Sqlite, "2015-03-02", "2015-03-02", true, true)]
    [InlineData(Db.Postgres, null, null, true, true)]
    public async Task Who_moves_to_another_school_under_another_id_is_counted_there(
        Db db,
        string? born,
        string? bornAnew,
        bool changes,
        bool held
    )
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        string School(int number) => system.Sandbox.District.Schools.ElementAt(number - 1).SourcedId;
        for (var i = 0; i < 120; i++)
        {
            system.Sandbox.Person($"a{i}", $"First{i}", $"Last{i}", orgs: [School(1)]);
            system.Sandbox.Born($"a{i}", born);
        }

        for (var i = 0; i < 60; i++)
        {
            system.Sandbox.Person($"x{i}", $"Stays{i}", $"Here{i}", orgs: [School(2)]);
        }

        await system.SyncAsync();
        for (var i = 0; i < 12; i++)
        {
            if (changes)
            {
                system.Sandbox.Person($"a{i}", $"First{i}", $"Last{i}", orgs: [School(1)], status: "tobedeleted", modified: Later);
            }
            else
            {
                system.Sandbox.Overrides.Remove("users", $"a{i}");
            }

            system.Sandbox.Person($"b{i}", $"First{i}", $"Last{i}", orgs: [School(2)], modified: Later);
            system.Sandbox.Born($"b{i}", bornAnew);
        }

        var operation = await system.SyncAsync(kind: changes ? OperationKind.ChangesSync : OperationKind.FullSync);
        Assert.Equal((changes ? OperationKind.ChangesSync : OperationKind.FullSync, null), (operation.Kind, operation.Error));
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((held ? 24 : 0, 12, 12), (counts.Held, counts.Created, counts.Transferred));
        Assert.Equal(held ? 180 : 192, (await system.AllPatronsAsync()).Count);
    }

    /// <summary>A sync of changes that sees only the half that comes knows nobody to be gone: where most of those who come to a school have names of the
    /// district's other schools, they wait; a few namesakes do not.</summary>
    [Theory]
    [InlineData(Db.Sqlite, 12, 4, true)]
    [InlineData(Db.Postgres, 12, 4, true)]
    [InlineData(Db.Sqlite, 12, 12, false)]
    [InlineData(Db.Postgres, 9, 0, false)]
    public async Task Who_moves_to_another_school_under_another_id_waits_where_a_changes_sync_sees_it_first(
        Db db,
        int count,
        int others,
        bool held
    )
    {
        await using var system = await Installation.StartAsync(cluster, db);
        system.Sandbox.OnlyMine();
        string School(int number) => system.Sandbox.District.Schools.ElementAt(number - 1).SourcedId;
        for (var i = 0; i < 120; i++)
        {
            system.Sandbox.Person($"a{i}", $"First{i}", $"Last{i}", orgs: [School(1)]);
        }

        for (var i = 0; i < 60; i++)
        {
            system.Sandbox.Person($"x{i}", $"Stays{i}", $"Here{i}", orgs: [School(2)]);
        }

        await system.SyncAsync();
        for (var i = 0; i < count + others; i++)
        {
            var name = i < count ? $"{i}" : $"New{i}";
            system.Sandbox.Overrides.Remove("users", $"a{name}");
            system.Sandbox.Person($"b{i}", $"First{name}", $"Last{name}", orgs: [School(2)], modified: Later);
        }

        var operation = await system.SyncAsync(kind: OperationKind.ChangesSync);
        Assert.Equal((OperationKind.ChangesSync, null), (operation.Kind, operation.Error));
        var counts = OperationQueue.CountsOf(operation);
        Assert.Equal((held ? count : 0, count + others), (counts.Held, counts.Created));
        Assert.Equal(180 + others + (held ? 0 : count), (await system.AllPatronsAsync()).Count);
        Assert.Equal(
            count,
            (await system.LogAsync(operation.Id)).Count(r =>
                r.Reason == "Somebody of another site has the same name: perhaps the id was given anew"
            )
        );
        if (held)
        {
            Assert.Contains(
                OperationQueue.WarningsOf(operation),
                w => w.Message.StartsWith($"{count} new students at", StringComparison.Ordinal)
            );

            // The next one that reads everything holds both halves.
            var full = OperationQueue.CountsOf(await system.SyncAsync());
            Assert.Equal((2 * count, count), (full.Held, full.Created));
        }
    }

    private const string Later = "2099-01-01T00:00:00.000Z";
    private const string Earlier = "2026-01-01T00:00:00.000Z";

    private static void Go(Installation system, string prefix, int count, string role, bool deleted, string modified = Earlier)
    {
        for (var i = 0; i < count; i++)
        {
            if (deleted)
            {
                Put(system, prefix, i, role, "tobedeleted", modified);
            }
            else
            {
                system.Sandbox.Overrides.Remove("users", $"{prefix}{i}");
            }
        }
    }

    private static void Put(Installation system, string prefix, int i, string role, string status, string modified = Earlier) =>
        system.Sandbox.Person(
            $"{prefix}{i}",
            $"First{i}",
            $"Last{prefix}{i}",
            role: role,
            status: status,
            modified: modified,
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
